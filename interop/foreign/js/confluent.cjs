const { KafkaJS, librdkafkaVersion } = require('@confluentinc/kafka-javascript')
const { run, secure } = require('./checks.cjs')
const env = process.env

const login = sasl => secure
  ? { 'security.protocol': 'sasl_ssl', 'ssl.ca.location': env.CA, 'sasl.mechanism': (sasl?.mechanism ?? 'scram-sha-512').toUpperCase(), 'sasl.username': sasl?.username ?? env.SASL_USER, 'sasl.password': sasl?.password ?? env.SASL_PASSWORD }
  : {}
const kafka = l => new KafkaJS.Kafka({ kafkaJS: { brokers: env.BOOTSTRAP.split(','), logLevel: KafkaJS.logLevel.ERROR }, ...l })

run({
  name: 'ckjs',
  version: require('@confluentinc/kafka-javascript/package.json').version,
  login,
  admin: l => kafka(l).admin(),
  producer: o => kafka(o.login ?? login()).producer({ 'compression.type': o.compression ?? 'none', 'enable.idempotence': !!o.idempotent, acks: -1 }),
  sendOptions: () => ({}),
  consumer: (groupId, protocol) => kafka(login()).consumer({ 'group.id': groupId, 'group.protocol': protocol, 'auto.offset.reset': 'earliest', 'enable.auto.commit': false }),
  subscribe: (c, topic) => c.subscribe({ topics: [topic] }),
  refused: /auth|timed out/i, // its admin does not tell why
  assigned: c => () => { try { return c.assignment().length } catch { return 0 } }
})
