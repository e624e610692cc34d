const fs = require('node:fs')
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
const snappy = require('snappyjs')
const lz4 = require('lz4-napi')
const { ZstdCodec } = require('zstd-codec')
const { run, secure } = require('./checks.cjs')
const env = process.env

const codec = (compress, decompress) => () => ({ compress: async e => Buffer.from(await compress(e.buffer)), decompress: async b => Buffer.from(await decompress(b)) })
CompressionCodecs[CompressionTypes.Snappy] = codec(b => snappy.compress(b), b => snappy.uncompress(b))
CompressionCodecs[CompressionTypes.LZ4] = codec(lz4.compressFrame, lz4.decompressFrame)
const zstd = new Promise(resolve => ZstdCodec.run(z => resolve(new z.Simple())))
CompressionCodecs[CompressionTypes.ZSTD] = codec(async b => (await zstd).compress(new Uint8Array(b)), async b => (await zstd).decompress(new Uint8Array(b)))
const types = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy, lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD }

// A producer must outlast a leader's crash; an admin that asks for a topic which is gone tries as often as it may.
const kafka = (login, retries = 6) => new Kafka({ brokers: env.BOOTSTRAP.split(','), logLevel: logLevel.ERROR, retry: { retries, maxRetryTime: 2000 }, ...login })
const login = sasl => secure
  ? { ssl: { ca: [fs.readFileSync(env.CA, 'utf8')] }, sasl: { mechanism: 'scram-sha-512', username: env.SASL_USER, password: env.SASL_PASSWORD, ...sasl } }
  : {}

run({
  name: 'kafkajs',
  version: require('kafkajs/package.json').version,
  login,
  admin: l => kafka(l).admin(),
  producer: o => kafka(o.login ?? login(), 30).producer({ allowAutoTopicCreation: false, idempotent: !!o.idempotent, maxInFlightRequests: o.idempotent ? 1 : undefined }),
  sendOptions: o => ({ acks: -1, compression: types[o.compression ?? 'none'] }),
  consumer: groupId => kafka(login()).consumer({ groupId, allowAutoTopicCreation: false }),
  subscribe: (c, topic) => c.subscribe({ topics: [topic], fromBeginning: true }),
  assigned: c => {
    let n = 0
    c.on(c.events.GROUP_JOIN, e => { n = Object.values(e.payload.memberAssignment).flat().length })
    return () => n
  },
  oneByOne: true, // it queues no batches of one partition in order by itself
  no848: 'the client has only the classic protocol'
})
