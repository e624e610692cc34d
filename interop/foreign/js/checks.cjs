// The checks that kafkajs and @confluentinc/kafka-javascript share; what they spell differently is in the adapter that run is given. Each check prints
// "CHECK name result reason", separated by tabs.
const { execFile } = require('node:child_process')
const { promisify } = require('node:util')
const assert = require('node:assert/strict')

const env = process.env
const secure = env.MODE === 'secure'
const start = Date.now() - 3600000 // younger than retention
class Skip extends Error {}
const sleep = ms => new Promise(done => setTimeout(done, ms))
const ctl = (what, node) => promisify(execFile)(env.CTL, [what, String(node)])
const numbered = (from, n, partitions) => Array.from({ length: n }, (_, i) => ({ key: 'k' + (from + i), value: String(from + i), partition: (from + i) % partitions }))

async function within (ms, what, promise) {
  let timer
  const late = new Promise((_resolve, reject) => { timer = setTimeout(() => reject(new Error(`${ms} ms waiting for: ${what}`)), ms) })
  try { return await Promise.race([promise, late]) } finally { clearTimeout(timer) }
}

async function until (what, ok) {
  let last
  for (const deadline = Date.now() + 40000; Date.now() < deadline; await sleep(50)) {
    try { if (await ok()) return } catch (e) { last = e }
  }
  throw new Error(`40 s waiting for: ${what}` + (last ? ` (${last.message})` : ''))
}

exports.run = async function (client) {
  console.log(`VERSION\t${client.version}`)
  const prefix = `${client.name}-${Date.now().toString(36)}-`
  const admin = client.admin(client.login())
  await admin.connect()
  const topic = async (name, partitions) => {
    name = prefix + name
    await admin.createTopics({ topics: [{ topic: name, numPartitions: partitions, replicationFactor: 3 }] })
    await until('the topic has leaders', async () => (await partitionsOf(name)).every(p => p.leader > 0))
    return name
  }
  const partitionsOf = async name => {
    const md = await admin.fetchTopicMetadata({ topics: [name] })
    return (md.topics ?? md)[0].partitions.map(p => ({ leader: p.leader, isr: p.isr.length }))
  }
  const send = async (to, messages, options) => {
    const p = client.producer(options ?? {})
    await p.connect()
    try { return await p.send({ topic: to, messages, ...client.sendOptions(options ?? {}) }) } finally { await p.disconnect() }
  }
  let readers = 0
  // readAll reads n records, and then a little longer, for those that should not be there.
  const readAll = async (from, n) => {
    const c = client.consumer(`${prefix}reader${readers++}`, 'classic')
    const all = []
    await c.connect()
    try {
      await client.subscribe(c, from)
      await c.run({ eachMessage: async m => { all.push({ partition: m.partition, ...m.message }) } })
      await until(`${n} records`, () => all.length >= n)
      await sleep(300)
      return all
    } finally { await c.disconnect() }
  }
  const check = async (name, f) => {
    let result
    try {
      result = `pass\t${await within(120000, name, f()) ?? ''}`
    } catch (e) {
      if (!(e instanceof Skip)) console.error(name, e)
      result = `${e instanceof Skip ? 'skipped' : 'fail'}\t${String(e.message).replace(/\s+/g, ' ')}`
    }
    console.log(`CHECK\t${name}\t${result}`)
  }
  const onlySecure = () => { if (!secure) throw new Skip('logins are off') }
  const unless = why => { if (why) throw new Skip(why) }

  for (const codec of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
    await check('codec-' + codec, async () => {
      const t = await topic('codec-' + codec, 3)
      const sent = numbered(0, 1000, 3).map(m => ({ ...m, value: 'value ' + m.value + 'abc'.repeat(m.value % 50) }))
      await send(t, sent, { compression: codec })
      const got = await readAll(t, 1000)
      assert.deepEqual(new Set(got.map(m => m.partition + m.key + m.value)), new Set(sent.map(m => m.partition + m.key + m.value)))
      assert.equal(got.length, 1000)
      return '1000 records'
    })
  }
  await check('headers', async () => {
    const t = await topic('headers', 1)
    await send(t, [{ key: 'k', value: 'v', headers: { a: ['1', '2'], b: 'x' } }])
    const [m] = await readAll(t, 1)
    assert.deepEqual(m.headers.a.map(String), ['1', '2'])
    assert.equal(String(m.headers.b), 'x')
  })
  await check('tombstones', async () => {
    const t = await topic('tombstones', 1)
    await send(t, [{ key: 'k', value: null }, { key: null, value: 'v' }])
    const [a, b] = await readAll(t, 2)
    assert.deepEqual([String(a.key), a.value, b.key ?? null, String(b.value)], ['k', null, null, 'v'])
  })
  await check('timestamps', async () => {
    const t = await topic('timestamps', 1)
    for (let i = 0; i < 200; i += 20) {
      await send(t, numbered(i, 20, 1).map(m => ({ ...m, timestamp: String(start + 1000 * m.value) })))
    }
    for (const m of await readAll(t, 200)) assert.equal(Number(m.timestamp), start + 1000 * String(m.value))
    for (const i of [0, 1, 100, 199]) {
      const [o] = await admin.fetchTopicOffsetsByTimestamp(t, start + 1000 * i - 500)
      assert.equal(Number(o.offset), i)
    }
    const [o] = await admin.fetchTopicOffsets(t)
    assert.deepEqual([Number(o.low), Number(o.high)], [0, 200])
  })
  await check('idempotent', async () => {
    const t = await topic('idempotent', 1)
    const p = client.producer({ idempotent: true })
    await p.connect()
    for (let i = 0; i < 50; i++) await p.send({ topic: t, messages: numbered(i * 100, 100, 1), ...client.sendOptions({ idempotent: true }) })
    await p.disconnect()
    const all = await readAll(t, 5000)
    assert.deepEqual(all.map(m => String(m.value)), all.map((_, i) => String(i)))
    assert.equal(all.length, 5000)
    return '5000 records in order'
  })
  let last
  const group = async protocol => {
    const t = await topic('group-' + protocol, 4)
    const g = t + '-g'
    const seen = new Set()
    const member = async () => {
      const c = client.consumer(g, protocol)
      const assigned = client.assigned(c)
      await c.connect()
      await client.subscribe(c, t)
      await c.run({
        eachMessage: async ({ partition, message }) => {
          seen.add(`${partition}/${message.offset}`)
          await c.commitOffsets([{ topic: t, partition, offset: String(Number(message.offset) + 1) }])
        }
      })
      return { c, assigned }
    }
    await send(t, numbered(0, 200, 4))
    const members = []
    try {
      members.push(await member())
      await until('one member has all four', () => members[0].assigned() === 4)
      members.push(await member())
      await until('two members have two each', () => members.every(m => m.assigned() === 2))
      const { groups } = await admin.describeGroups([g])
      if (protocol === 'classic') assert.equal(groups[0].members.length, 2)
      await send(t, numbered(200, 200, 4))
      await until('400 records', () => seen.size === 400)
      await members.pop().c.disconnect()
      await until('the one left has all four', () => members[0].assigned() === 4)
      await send(t, numbered(400, 200, 4))
      await until('600 records', () => seen.size === 600)
    } finally {
      for (const m of members) await m.c.disconnect()
    }
    last = { t, g }
  }
  await check('group-kip848', async () => { unless(client.no848); await group('consumer') })
  await check('group-classic', () => group('classic'))
  const sum = async () => {
    const [{ partitions }] = await admin.fetchOffsets({ groupId: last.g, topics: [last.t] })
    return partitions.reduce((n, p) => n + Number(p.offset), 0)
  }
  await check('committed', async () => {
    assert.equal(await sum(), 600)
    await send(last.t, numbered(600, 8, 4))
    const c = client.consumer(last.g, 'classic')
    const got = []
    await c.connect()
    await client.subscribe(c, last.t)
    await c.run({ eachMessage: async ({ message }) => { got.push(Number(String(message.value))) } })
    await until('8 records', () => got.length >= 8)
    await sleep(300)
    await c.disconnect()
    assert.deepEqual(got.sort(), [600, 601, 602, 603, 604, 605, 606, 607])
  })
  await check('metadata-all', async () => {
    const t = await topic('all', 1)
    const own = client.admin(client.login()) // where it fails, connections of others must not
    await own.connect()
    try {
      const all = await within(10000, 'all topics', own.listTopics())
      assert.ok(all.includes(t))
      return `${all.length} topics`
    } finally { await own.disconnect() }
  })
  await check('admin-topics', async () => {
    const t = await topic('admin', 2)
    assert.equal((await partitionsOf(t)).length, 2)
    await assert.rejects(admin.createTopics({ topics: [{ topic: 'bad name', numPartitions: 1, replicationFactor: 1 }] }))
    await assert.rejects(admin.createTopics({ topics: [{ topic: t + 'x', numPartitions: 1, replicationFactor: 9 }] }))
    await admin.deleteTopics({ topics: [t] })
    await until('the topic is gone', async () => { try { return (await partitionsOf(t)).length === 0 } catch { return true } })
    await assert.rejects(admin.deleteTopics({ topics: [t], timeout: 5000 }))
  })
  await check('admin-partitions', async () => {
    unless(admin.createPartitions ? '' : 'the client has no such call')
    const t = await topic('partitions', 1)
    await admin.createPartitions({ topicPartitions: [{ topic: t, count: 3 }] })
    await until('three partitions', async () => (await partitionsOf(t)).length === 3)
    await send(t, numbered(0, 30, 3))
    assert.equal((await readAll(t, 30)).length, 30)
  })
  await check('admin-configs', async () => {
    unless(admin.describeConfigs ? '' : 'the client has no such call')
    const t = await topic('configs', 1)
    const get = async () => {
      const { resources } = await admin.describeConfigs({ includeSynonyms: true, resources: [{ type: 2, name: t, configNames: ['retention.ms'] }] })
      return resources[0].configEntries[0].configValue
    }
    assert.equal(await get(), '604800000')
    try {
      await admin.alterConfigs({ validateOnly: false, resources: [{ type: 2, name: t, configEntries: [{ name: 'retention.ms', value: '12345' }] }] })
    } catch (e) {
      if (e.name === 'KafkaJSServerDoesNotSupportApiKey') throw new Skip('describe passes; the client alters by AlterConfigs (33) only, which the broker does not serve')
      throw e
    }
    await until('retention.ms is set', async () => await get() === '12345')
  })
  await check('admin-groups', async () => {
    const { groups } = await admin.listGroups()
    assert.ok(groups.some(g => g.groupId === last.g))
    await until('the group is empty', async () => {
      const { groups: [g] } = await admin.describeGroups([last.g])
      return g.members.length === 0
    })
    if (admin.setOffsets) {
      await admin.setOffsets({ groupId: last.g, topic: last.t, partitions: [{ partition: 1, offset: '7' }] })
      const [{ partitions }] = await admin.fetchOffsets({ groupId: last.g, topics: [last.t] })
      assert.equal(Number(partitions.find(p => p.partition === 1).offset), 7)
    }
    await admin.deleteGroups([last.g])
    await assert.rejects(admin.deleteGroups([last.g]))
  })
  await check('admin-cluster', async () => {
    unless(admin.describeCluster ? '' : 'the client has no such call')
    const c = await admin.describeCluster()
    assert.equal(c.brokers.length, 3)
    assert.ok(c.controller > 0 && c.clusterId)
  })
  await check('admin-records', async () => {
    const t = await topic('records', 1)
    await send(t, numbered(0, 100, 1))
    await admin.deleteTopicRecords({ topic: t, partitions: [{ partition: 0, offset: '40' }] })
    const all = await readAll(t, 60)
    assert.deepEqual([all.length, Number(all[0].offset)], [60, 40])
  })
  await check('admin-access', async () => {
    onlySecure()
    unless(admin.createAcls ? '' : 'the client has no such call')
    const t = await topic('acl', 1)
    const alice = client.producer({ login: client.login({ username: 'alice', password: 'wonderland' }) })
    const write = () => alice.send({ topic: t, messages: [{ value: 'v' }] })
    await alice.connect()
    try {
      await assert.rejects(write(), /authoriz/i)
      const acl = { resourceType: 2, resourceName: t, resourcePatternType: 3, principal: 'User:alice', host: '*', operation: 4, permissionType: 3 }
      await admin.createAcls({ acl: [acl] })
      const { resources } = await admin.describeAcls(acl)
      assert.equal(resources.length, 1)
      await until('alice may write', async () => { await write(); return true })
      const { filterResponses } = await admin.deleteAcls({ filters: [acl] })
      assert.equal(filterResponses[0].matchingAcls.length, 1)
    } finally { await alice.disconnect() }
  })
  const mechanisms = ['scram-sha-256', 'scram-sha-512', 'plain']
  await check('login-right', async () => {
    onlySecure()
    for (const mechanism of mechanisms) {
      const a = client.admin(client.login({ mechanism }))
      await within(15000, mechanism, a.connect())
      const md = await a.fetchTopicMetadata({ topics: [last.t] })
      assert.equal((md.topics ?? md)[0].partitions.length, 4)
      await a.disconnect()
    }
    return mechanisms.join(', ')
  })
  await check('login-wrong', async () => {
    onlySecure()
    for (const mechanism of mechanisms) {
      const a = client.admin(client.login({ mechanism, password: 'wrong' }))
      await assert.rejects(within(15000, 'never', (async () => { await a.connect(); await a.fetchTopicMetadata({ topics: [last.t] }) })()), client.refused ?? /auth/i)
      a.disconnect().catch(() => {})
    }
  })
  await check('leader-crash', async () => {
    const t = await topic('crash', 1)
    const [{ leader }] = await partitionsOf(t)
    const p = client.producer({ idempotent: true })
    await p.connect()
    const n = 200
    let acked = 0
    const sends = []
    for (let i = 0; i < n; i++) {
      sends.push(p.send({ topic: t, messages: numbered(i * 50, 50, 1), ...client.sendOptions({ idempotent: true }) }).then(() => acked++))
      if (client.oneByOne) await sends.at(-1)
      if (i === Math.floor(n / 3)) {
        await until('some are acknowledged', () => acked > 10)
        await ctl('kill', leader)
      }
    }
    try {
      await within(90000, 'acknowledgements', Promise.all(sends))
      await p.disconnect()
      const all = await readAll(t, n * 50)
      assert.deepEqual(all.map(m => Number(String(m.value))), Array.from({ length: n * 50 }, (_, i) => i))
    } finally { await ctl('start', leader) }
    await until('the restarted node is in sync', async () => (await partitionsOf(t))[0].isr === 3)
    return `${n * 50} acknowledged, none missing, none twice, in order`
  })
  await check('transactions', async () => { throw new Skip('the broker serves no transactions yet') })
  await admin.disconnect()
  process.exit(0)
}
exports.secure = secure
