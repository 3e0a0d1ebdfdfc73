'use strict';
// The services of the interop tests, loaded from the protos at run time.

const { createRequire } = require('node:module');
const path = require('node:path');

const [modules, protos] = process.argv.slice(2);
const load = createRequire(path.join(modules, 'package.json'));
const grpc = load('@grpc/grpc-js');
const loader = load('@grpc/proto-loader');

const options = { keepCase: true, longs: Number, defaults: false, includeDirs: [protos] };
const files = ['testing/test.proto', 'orca/service.proto', 'orca/load_report.proto'];
const definition = loader.loadSync(files, options);
const report = definition['xds.service.orca.v3.OpenRcaService'].StreamCoreMetrics;

module.exports = {
  grpc,
  testing: grpc.loadPackageDefinition(definition).grpc.testing,
  orca: grpc.loadPackageDefinition(definition).xds.service.orca.v3,
  encodeReport: report.responseSerialize,
  decodeReport: report.responseDeserialize,
};
