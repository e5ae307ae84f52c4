// What an application does with kafkajs; prints `name<TAB>pass|fail<TAB>detail` for each step.
const assert = require('node:assert')
const { Kafka, CompressionTypes, ConfigResourceTypes, logLevel } = require('kafkajs')

const suffix = process.pid.toString(36) + Date.now().toString(36)
const topic = `kafkajs-${suffix}`
const group = `kafkajs-group-${suffix}`
const total = 120
const kafka = new Kafka({ clientId: 'suite', brokers: process.env.BROKERS.split(','), logLevel: logLevel.NOTHING })
const admin = kafka.admin()

async function eventually (what, probe, seconds = 30) {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    if (await probe()) return
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 100))
  }
}

async function createTopic () {
  assert.strictEqual(await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 2, replicationFactor: Number(process.env.RF || 1) }] }), true)
}

async function produce () {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (const compression of [CompressionTypes.None, CompressionTypes.GZIP]) {
    const messages = []
    for (let i = 0; i < total / 2; i++) messages.push({ key: `${compression}/${i}`, value: 'v'.repeat(i), partition: i % 2, headers: { h: Buffer.from([255, 0]) } })
    await producer.send({ topic, acks: -1, compression, messages })
  }
  await producer.disconnect()
}

async function consumeInGroup () {
  const consumer = kafka.consumer({ groupId: group })
  const seen = new Map()
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({ eachMessage: async ({ message }) => { seen.set(message.key.toString(), message) } })
  try {
    await eventually(`${total} records`, () => seen.size >= total, 40)
  } finally {
    await consumer.disconnect()
  }
  assert.strictEqual(seen.get('0/5').value.toString(), 'vvvvv')
  assert.deepStrictEqual([...seen.get('0/5').headers.h], [255, 0])
}

async function committedOffsets () {
  const [{ partitions }] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
  assert.deepStrictEqual(partitions.map(p => p.offset), [String(total / 2), String(total / 2)])
}

async function offsets () {
  const found = await admin.fetchTopicOffsets(topic)
  assert.deepStrictEqual(found.map(p => p.high).sort(), [String(total / 2), String(total / 2)])
}

async function configs () {
  await admin.alterConfigs({ validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name: 'retention.ms', value: '7654321' }] }] })
  await eventually('new value', async () => {
    const answer = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configNames: ['retention.ms'] }] })
    return answer.resources[0].configEntries[0].configValue === '7654321'
  })
}

async function morePartitions () {
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
  await eventually('3 partitions', async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 3)
}

async function groups () {
  assert((await admin.listGroups()).groups.some(g => g.groupId === group))
  assert.strictEqual((await admin.describeGroups([group])).groups[0].state, 'Empty')
  await admin.deleteGroups([group])
}

async function deleteTopic () {
  await admin.deleteTopics({ topics: [topic] })
  await eventually('topic gone', async () => !(await admin.listTopics()).includes(topic))
}

async function main () {
  let failed = 0
  await admin.connect()
  for (const step of [createTopic, produce, consumeInGroup, committedOffsets, offsets, configs, morePartitions, groups, deleteTopic]) {
    let line = 'pass\t'
    try {
      await step()
    } catch (e) {
      failed++
      line = `fail\t${String(e).replace(/\s+/g, ' ').slice(0, 300)}`
    }
    console.log(`kafkajs.${step.name}\t${line}`)
  }
  await admin.disconnect()
  process.exit(failed ? 1 : 0)
}

main()
