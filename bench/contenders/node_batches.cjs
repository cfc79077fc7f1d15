// Batches in Node, as dynamodb-replicator makes them: the last change per key of an event, 25 to a
// request, the requests beside one another. (That package itself can't be had from npm any more.)

const { DynamoDBClient, BatchWriteItemCommand } = require('@aws-sdk/client-dynamodb')

const client = new DynamoDBClient({
  region: 'eu-west-1',
  endpoint: process.env.AWS_ENDPOINT_URL_DYNAMODB
})

function decoded (value) {
  if (value.B !== undefined) return { B: Buffer.from(value.B, 'base64') }
  if (value.BS !== undefined) return { BS: value.BS.map((member) => Buffer.from(member, 'base64')) }
  if (value.M !== undefined) return { M: item(value.M) }
  if (value.L !== undefined) return { L: value.L.map(decoded) }
  return value
}

function item (image) {
  const found = {}
  for (const name in image) found[name] = decoded(image[name])
  return found
}

async function write (requests) {
  let left = { Bench: requests }
  while (left && Object.keys(left).length) {
    left = (await client.send(new BatchWriteItemCommand({ RequestItems: left }))).UnprocessedItems
  }
}

exports.handler = async (event) => {
  const last = new Map()
  for (const record of event.Records) last.set(JSON.stringify(record.dynamodb.Keys), record)
  const requests = [...last.values()].map((record) => record.eventName === 'REMOVE'
    ? { DeleteRequest: { Key: record.dynamodb.Keys } }
    : { PutRequest: { Item: item(record.dynamodb.NewImage) } })
  const batches = []
  for (let at = 0; at < requests.length; at += 25) batches.push(requests.slice(at, at + 25))
  await Promise.all(batches.map(write))
}
