'use strict';
// The cases on grpc-js: node client.js MODULES PROTOS
// Reads lines of {"id", "case", "target", "ca", "probe", "soak"}, answers {"id", "error"}, ends with its standard input.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const readline = require('node:readline');
const { grpc, testing, orca, decodeReport } = require('./services');

const REQUEST_SIZE = 271828;
const RESPONSE_SIZE = 314159;
const INPUT_SIZES = [27182, 8, 1828, 45904];
const OUTPUT_SIZES = [31415, 9, 2653, 58979];
const LONGEST = 15000;
const INITIAL = 'x-grpc-test-echo-initial';
const INITIAL_VALUE = 'test_initial_metadata_value';
const TRAILING = 'x-grpc-test-echo-trailing-bin';
const TRAILING_VALUE = Buffer.from([0xab, 0xab, 0xab]);
const LOAD = 'endpoint-load-metrics-bin';
const CALL_REPORT = {
  cpu_utilization: 0.821,
  memory_utilization: 0.5847,
  request_cost: { cost: 3456.32 },
  utilization: { util: 0.30499 },
};
const SERVER_REPORTS = [
  { cpu_utilization: 0.821, memory_utilization: 0.5847, utilization: { util: 0.30499 } },
  { cpu_utilization: 0.29309, memory_utilization: 0.2, utilization: { util: 0.2039 } },
];
const STATUS = { code: 2, message: 'test status message' };
const SPECIAL = { code: 2, message: '\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \u{1f608}\t\n' };
const GZIP = { 'grpc.default_compression_algorithm': 2 };
const NO_COMPRESS = 2; // the flag of one message

const deadline = () => ({ deadline: Date.now() + LONGEST });
const zeros = (size) => ({ body: Buffer.alloc(size) });
const large = (more) => ({ response_size: RESPONSE_SIZE, payload: zeros(REQUEST_SIZE), ...more });
const output = (sizes, more) => ({ response_parameters: sizes.map((size) => ({ size })), ...more });

function checkZeros(payload, size) {
  assert.ok(payload.body.equals(Buffer.alloc(size)));
}

function checkReport(report, wanted) {
  assert.equal(report.cpu_utilization, wanted.cpu_utilization);
  assert.equal(report.mem_utilization, wanted.memory_utilization);
  assert.deepEqual({ ...report.utilization }, wanted.utilization);
  assert.deepEqual({ ...report.request_cost }, wanted.request_cost || {});
}

// One unary call: the answer with its metadata, trailers and status, or the error.
function unary(client, method, request, metadata = new grpc.Metadata(), options = deadline()) {
  return new Promise((resolve, reject) => {
    const seen = {};
    const call = client[method](request, metadata, options, (error, reply) => {
      if (error) {
        reject(error);
        return;
      }
      seen.reply = reply;
    });
    call.on('metadata', (initial) => {
      seen.initial = initial;
    });
    call.on('status', (status) => {
      if (status.code === grpc.status.OK) {
        seen.trailing = status.metadata;
        setImmediate(() => resolve(seen)); // after the callback, which comes in the same turn
      }
    });
  });
}

// A call with a stream of answers, to be read one by one; null is the end.
class Conversation {
  constructor(call) {
    this.call = call;
    this.arrived = [];
    this.waiting = [];
    call.on('data', (reply) => this.put({ reply }));
    call.on('error', (error) => this.put({ error }));
    call.on('end', () => this.put({ reply: null }));
    call.on('metadata', (metadata) => {
      this.initial = metadata;
    });
    this.status = new Promise((resolve) => {
      call.on('status', resolve);
    });
  }

  put(item) {
    const waiter = this.waiting.shift();
    if (waiter) {
      waiter(item);
    } else {
      this.arrived.push(item);
    }
  }

  async next() {
    const item = this.arrived.shift() || (await new Promise((resolve) => this.waiting.push(resolve)));
    if (item.error) {
      throw item.error;
    }
    return item.reply;
  }

  async all() {
    const replies = [];
    for (let reply = await this.next(); reply !== null; reply = await this.next()) {
      replies.push(reply);
    }
    return replies;
  }
}

const duplex = (client, metadata = new grpc.Metadata(), options = deadline()) =>
  new Conversation(client.FullDuplexCall(metadata, options));

async function fails(promise, code, details) {
  const error = await promise.then(
    () => assert.fail('the call did not fail'),
    (reason) => reason,
  );
  assert.equal(error.code, code, String(error));
  if (details !== undefined) {
    assert.equal(error.details, details);
  }
}

function input(client, requests, options = deadline()) {
  return new Promise((resolve, reject) => {
    const call = client.StreamingInputCall(new grpc.Metadata(), options, (error, reply) =>
      error ? reject(error) : resolve(reply),
    );
    requests.forEach((request) => call.write(request));
    call.end();
  });
}

// Marks the messages of a call that must not be compressed.
class PerMessage extends grpc.InterceptingCall {
  sendMessageWithContext(context, message) {
    const compress = message.expect_compressed.value;
    super.sendMessageWithContext(compress ? context : { ...context, flags: NO_COMPRESS }, message);
  }
}

const perMessage = (options, nextCall) => new PerMessage(nextCall(options));

function echoed() {
  const metadata = new grpc.Metadata();
  metadata.add(INITIAL, INITIAL_VALUE);
  metadata.add(TRAILING, TRAILING_VALUE);
  return metadata;
}

function checkEcho(initial, trailing) {
  assert.deepEqual(initial.get(INITIAL), [INITIAL_VALUE]);
  assert.deepEqual(trailing.get(TRAILING), [TRAILING_VALUE]);
}

async function checkLarge(client, more) {
  const { reply } = await unary(client, 'UnaryCall', large(more));
  checkZeros(reply.payload, RESPONSE_SIZE);
}

async function soak(test, call) {
  const { iterations, failures, longest, pause, overall } = test.soak;
  const began = Date.now();
  let failed = 0;
  for (let count = 0; count < iterations; count += 1) {
    const start = Date.now();
    try {
      await call();
      failed += Date.now() - start > longest * 1000;
    } catch (error) {
      failed += 1;
    }
    await new Promise((resolve) => setTimeout(resolve, pause * 1000));
  }
  assert.ok(failed <= failures);
  assert.ok(Date.now() - began < overall * 1000);
}

async function soakCall(test, client) {
  const { reply } = await unary(client, 'UnaryCall', {
    response_size: test.soak.response_size,
    payload: zeros(test.soak.request_size),
  });
  checkZeros(reply.payload, test.soak.response_size);
}

const cases = {
  async empty_unary({ client }) {
    assert.deepEqual({ ...(await unary(client, 'EmptyCall', {})).reply }, {});
  },
  async cacheable_unary({ client }) {
    const request = { payload: { body: Buffer.from(String(process.hrtime.bigint())) } };
    const metadata = new grpc.Metadata();
    metadata.add('x-user-ip', '1.2.3.4');
    const first = await unary(client, 'CacheableUnaryCall', request, metadata);
    const second = await unary(client, 'CacheableUnaryCall', request, metadata);
    assert.ok(first.reply.payload.body.length > 0);
    assert.ok(first.reply.payload.body.equals(second.reply.payload.body));
  },
  large_unary: ({ client }) => checkLarge(client),
  async client_compressed_unary(test) {
    if (test.probe) {
      const probe = unary(test.client, 'UnaryCall', large({ expect_compressed: { value: true } }));
      await fails(probe, grpc.status.INVALID_ARGUMENT);
    }
    await checkLarge(test.connect(GZIP), { expect_compressed: { value: true } });
    await checkLarge(test.client, { expect_compressed: { value: false } });
  },
  async server_compressed_unary({ client }) {
    await checkLarge(client, { response_compressed: { value: true } });
    await checkLarge(client, { response_compressed: { value: false } });
  },
  async client_streaming({ client }) {
    const reply = await input(client, INPUT_SIZES.map((size) => ({ payload: zeros(size) })));
    assert.equal(reply.aggregated_payload_size, 74922);
  },
  async client_compressed_streaming(test) {
    const first = { payload: zeros(27182), expect_compressed: { value: true } };
    const second = { payload: zeros(45904), expect_compressed: { value: false } };
    if (test.probe) {
      await fails(input(test.client, [first]), grpc.status.INVALID_ARGUMENT);
    }
    const reply = await input(test.connect(GZIP), [first, second], { ...deadline(), interceptors: [perMessage] });
    assert.equal(reply.aggregated_payload_size, 73086);
  },
  async server_streaming({ client }) {
    const call = client.StreamingOutputCall(output(OUTPUT_SIZES), new grpc.Metadata(), deadline());
    const replies = await new Conversation(call).all();
    assert.equal(replies.length, OUTPUT_SIZES.length);
    replies.forEach((reply, index) => checkZeros(reply.payload, OUTPUT_SIZES[index]));
  },
  async server_compressed_streaming({ client }) {
    const request = {
      response_parameters: [
        { size: 31415, compressed: { value: true } },
        { size: 92653, compressed: { value: false } },
      ],
    };
    const call = client.StreamingOutputCall(request, new grpc.Metadata(), deadline());
    const replies = await new Conversation(call).all();
    assert.equal(replies.length, 2);
    checkZeros(replies[0].payload, 31415);
    checkZeros(replies[1].payload, 92653);
  },
  async ping_pong({ client }) {
    const talk = duplex(client);
    for (let index = 0; index < OUTPUT_SIZES.length; index += 1) {
      talk.call.write(output([OUTPUT_SIZES[index]], { payload: zeros(INPUT_SIZES[index]) }));
      checkZeros((await talk.next()).payload, OUTPUT_SIZES[index]);
    }
    talk.call.end();
    assert.equal(await talk.next(), null);
  },
  async empty_stream({ client }) {
    const talk = duplex(client);
    talk.call.end();
    assert.equal(await talk.next(), null);
    assert.equal((await talk.status).code, grpc.status.OK);
  },
  async custom_metadata({ client }) {
    const { reply, initial, trailing } = await unary(client, 'UnaryCall', large(), echoed());
    checkZeros(reply.payload, RESPONSE_SIZE);
    checkEcho(initial, trailing);
    const talk = duplex(client, echoed());
    talk.call.write(output([RESPONSE_SIZE], { payload: zeros(REQUEST_SIZE) }));
    talk.call.end();
    checkZeros((await talk.next()).payload, RESPONSE_SIZE);
    checkEcho(talk.initial, (await talk.status).metadata);
  },
  async status_code_and_message({ client }) {
    await fails(unary(client, 'UnaryCall', { response_status: STATUS }), STATUS.code, STATUS.message);
    const talk = duplex(client);
    talk.call.write({ response_status: STATUS });
    talk.call.end();
    await fails(talk.all(), STATUS.code, STATUS.message);
  },
  async special_status_message({ client }) {
    await fails(unary(client, 'UnaryCall', { response_status: SPECIAL }), SPECIAL.code, SPECIAL.message);
  },
  async unimplemented_method({ client }) {
    await fails(unary(client, 'UnimplementedCall', {}), grpc.status.UNIMPLEMENTED);
  },
  async unimplemented_service(test) {
    const stranger = test.connect({}, testing.UnimplementedService);
    await fails(unary(stranger, 'UnimplementedCall', {}), grpc.status.UNIMPLEMENTED);
  },
  async cancel_after_begin({ client }) {
    const ended = new Promise((resolve, reject) => {
      const call = client.StreamingInputCall(new grpc.Metadata(), deadline(), (error) =>
        error ? reject(error) : resolve(),
      );
      call.cancel();
    });
    await fails(ended, grpc.status.CANCELLED);
  },
  async cancel_after_first_response({ client }) {
    const talk = duplex(client);
    talk.call.write(output([OUTPUT_SIZES[0]], { payload: zeros(INPUT_SIZES[0]) }));
    checkZeros((await talk.next()).payload, OUTPUT_SIZES[0]);
    talk.call.cancel();
    await fails(talk.all(), grpc.status.CANCELLED);
  },
  async timeout_on_sleeping_server({ client }) {
    const talk = duplex(client, new grpc.Metadata(), { deadline: Date.now() + 1 });
    talk.call.write({ payload: zeros(INPUT_SIZES[0]) });
    await fails(talk.all(), grpc.status.DEADLINE_EXCEEDED);
  },
  rpc_soak: (test) => soak(test, () => soakCall(test, test.client)),
  channel_soak: (test) => soak(test, () => soakCall(test, test.connect())),
  async orca_per_rpc({ client }) {
    const { trailing } = await unary(client, 'UnaryCall', { orca_per_query_report: CALL_REPORT });
    checkReport(decodeReport(trailing.get(LOAD)[0]), CALL_REPORT);
  },
  async orca_oob(test) {
    const load = test.connect({}, orca.OpenRcaService);
    const wish = { report_interval: { seconds: 0, nanos: 50000000 } };
    const reports = new Conversation(load.StreamCoreMetrics(wish, new grpc.Metadata(), deadline()));
    const talk = duplex(test.client);
    for (const wanted of SERVER_REPORTS) {
      talk.call.write(output([1], { orca_oob_report: wanted }));
      checkZeros((await talk.next()).payload, 1);
      let report = await reports.next();
      while (report.cpu_utilization !== wanted.cpu_utilization) {
        report = await reports.next();
      }
      checkReport(report, wanted);
    }
    talk.call.end();
    assert.equal(await talk.next(), null);
    reports.call.cancel();
    await fails(reports.all(), grpc.status.CANCELLED);
  },
};

async function run(test) {
  const credentials = test.ca
    ? grpc.credentials.createSsl(fs.readFileSync(test.ca))
    : grpc.credentials.createInsecure();
  const open = [];
  const connect = (options = {}, Service = testing.TestService) => {
    // Each test, and each iteration of channel_soak, has a connection of its own.
    const own = { 'grpc.use_local_subchannel_pool': 1, 'grpc.enable_http_proxy': 0, ...options };
    const client = new Service(test.target, credentials, own);
    open.push(client);
    return client;
  };
  try {
    await cases[test.case]({ ...test, connect, client: connect() });
  } finally {
    open.forEach((client) => client.close());
  }
}

async function answer(test) {
  let error = null;
  await run(test).catch((reason) => {
    error = reason.stack || String(reason);
  });
  console.log(JSON.stringify({ id: test.id, error }));
}

readline
  .createInterface({ input: process.stdin })
  .on('line', (line) => answer(JSON.parse(line)))
  .on('close', () => process.exit(0));
