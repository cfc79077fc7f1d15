// The handler of AWS's article on mirroring with DynamoDB Streams and Lambda, mended: one request
// for each record, in order, awaited (the article's ran beside one another, so a key's changes could
// overtake each other, and errors were lost), with today's SDK. Keep-alive is its default.

const { DynamoDBClient, PutItemCommand, DeleteItemCommand } = require('@aws-sdk/client-dynamodb')

const client = new DynamoDBClient({
  region: 'eu-west-1',
  endpoint: process.env.AWS_ENDPOINT_URL_DYNAMODB
})

// Events spell binary as base64 text, the client wants bytes.
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

exports.handler = async (event) => {
  for (const record of event.Records) {
    if (record.eventName === 'REMOVE') {
      await client.send(new DeleteItemCommand({ TableName: 'Bench', Key: record.dynamodb.Keys }))
    } else {
      const Item = item(record.dynamodb.NewImage)
      await client.send(new PutItemCommand({ TableName: 'Bench', Item }))
    }
  }
}
