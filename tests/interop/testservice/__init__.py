"""``grpc.testing.TestService`` of gRPC's public interop tests: clients and servers on orbit_net, grpcio and grpc-js."""
