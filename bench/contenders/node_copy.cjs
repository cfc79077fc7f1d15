// copy-dynamodb-table from one endpoint to another: node node_copy.cjs TABLE SOURCE_URL TARGET_URL
// It prints one line of JSON.

process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = '1'

const { copy } = require('copy-dynamodb-table')

const [table, source, target] = process.argv.slice(2)
const cpu = process.cpuUsage()
const from = process.hrtime.bigint()

copy({
  source: { tableName: table, config: { region: 'us-east-1', endpoint: source } },
  destination: { tableName: table, config: { region: 'eu-west-1', endpoint: target } },
  log: false,
  create: false
}, (error, result) => {
  if (error) {
    console.error(String(error.message || error))
    process.exit(1)
  }
  const used = process.cpuUsage(cpu)
  console.log(JSON.stringify({
    changes: result.count,
    cpu_us: used.user + used.system,
    wall_s: Number(process.hrtime.bigint() - from) / 1e9
  }))
})
