'use strict';
// TestService and OpenRcaService on grpc-js: node server.js MODULES PROTOS CERTIFICATE KEY
// Prints {"plain": port, "tls": port}, and ends when its standard input does.

const fs = require('node:fs');
const { grpc, testing, orca, encodeReport } = require('./services');

const [certificate, key] = process.argv.slice(4);
const INITIAL = 'x-grpc-test-echo-initial';
const TRAILING = 'x-grpc-test-echo-trailing-bin';
const LOAD = 'endpoint-load-metrics-bin';

let serverReport = {};

function loadReport(wish) {
  return {
    cpu_utilization: wish.cpu_utilization,
    mem_utilization: wish.memory_utilization,
    request_cost: wish.request_cost,
    utilization: wish.utilization,
  };
}

// Sends the initial metadata that the client wants back, and returns the trailing metadata.
function echo(call) {
  const initial = new grpc.Metadata();
  const trailing = new grpc.Metadata();
  call.metadata.get(INITIAL).forEach((value) => initial.add(INITIAL, value));
  call.metadata.get(TRAILING).forEach((value) => trailing.add(TRAILING, value));
  call.sendMetadata(initial);
  return trailing;
}

function statusOf(request) {
  const status = request.response_status;
  return status && status.code ? { code: status.code, details: status.message } : null;
}

function payload(size) {
  return { body: Buffer.alloc(size || 0) };
}

function unaryCall(call, callback) {
  const trailing = echo(call);
  const status = statusOf(call.request);
  if (status) {
    callback({ ...status, metadata: trailing });
    return;
  }
  const wish = call.request.orca_per_query_report;
  if (wish) {
    trailing.add(LOAD, encodeReport(loadReport(wish)));
  }
  callback(null, { payload: payload(call.request.response_size) }, trailing);
}

function cacheableUnaryCall(call, callback) {
  const metadata = new grpc.Metadata();
  metadata.add('cache-control', 'max-age=60, public');
  call.sendMetadata(metadata);
  callback(null, { payload: { body: Buffer.from(String(process.hrtime.bigint())) } });
}

const after = (microseconds) => new Promise((resolve) => setTimeout(resolve, microseconds / 1000));

async function answer(call, request) {
  for (const wanted of request.response_parameters || []) {
    if (wanted.interval_us) {
      await after(wanted.interval_us);
    }
    call.write({ payload: payload(wanted.size) });
  }
}

function streamingOutputCall(call) {
  answer(call, call.request).then(() => call.end());
}

function streamingInputCall(call, callback) {
  let total = 0;
  call.on('data', (request) => {
    total += request.payload.body.length;
  });
  call.on('end', () => callback(null, { aggregated_payload_size: total }));
}

function fullDuplexCall(call) {
  const trailing = echo(call);
  let failed = false;
  let last = Promise.resolve();
  call.on('data', (request) => {
    if (failed) {
      return;
    }
    const status = statusOf(request);
    if (status) {
      failed = true;
      call.emit('error', { ...status, metadata: trailing });
      return;
    }
    if (request.orca_oob_report) {
      serverReport = loadReport(request.orca_oob_report);
    }
    last = last.then(() => answer(call, request));
  });
  call.on('end', () => {
    last.then(() => {
      if (!failed) {
        call.end(trailing);
      }
    });
  });
}

function streamCoreMetrics(call) {
  const interval = call.request.report_interval || {};
  const milliseconds = (interval.seconds || 0) * 1000 + (interval.nanos || 0) / 1e6;
  call.write(serverReport);
  const timer = setInterval(() => call.write(serverReport), milliseconds);
  call.on('cancelled', () => {
    clearInterval(timer);
    call.end();
  });
}

async function main() {
  const server = new grpc.Server();
  server.addService(testing.TestService.service, {
    EmptyCall: (call, callback) => callback(null, {}),
    UnaryCall: unaryCall,
    CacheableUnaryCall: cacheableUnaryCall,
    StreamingOutputCall: streamingOutputCall,
    StreamingInputCall: streamingInputCall,
    FullDuplexCall: fullDuplexCall,
  });
  server.addService(orca.OpenRcaService.service, { StreamCoreMetrics: streamCoreMetrics });
  const bind = (credentials) =>
    new Promise((resolve, reject) => {
      const bound = (error, port) => (error ? reject(error) : resolve(port));
      server.bindAsync('127.0.0.1:0', credentials, bound);
    });
  const pair = { cert_chain: fs.readFileSync(certificate), private_key: fs.readFileSync(key) };
  const ports = {
    plain: await bind(grpc.ServerCredentials.createInsecure()),
    tls: await bind(grpc.ServerCredentials.createSsl(null, [pair], false)),
  };
  process.stdin.on('end', () => process.exit(0));
  process.stdin.resume();
  console.log(JSON.stringify(ports));
}

main();
