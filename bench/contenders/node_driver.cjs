// The process that is measured: one handler, called as Lambda calls it.
//
// A line of JSON in, an event; a line out, what its handling cost. Parsing is not counted.
//
//     NODE_PATH=.../node_modules node node_driver.cjs ./node_puts.cjs

const readline = require('node:readline')

const { handler } = require(require('node:path').resolve(process.argv[2]))

async function main () {
  const context = { awsRequestId: 'bench', getRemainingTimeInMillis: () => 900000 }
  for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    const event = JSON.parse(line)
    const cpu = process.cpuUsage()
    const from = process.hrtime.bigint()
    await handler(event, context)
    const wallS = Number(process.hrtime.bigint() - from) / 1e9
    const used = process.cpuUsage(cpu)
    process.stdout.write(JSON.stringify({ cpu_us: used.user + used.system, wall_s: wallS }) + '\n')
  }
}

main().catch((error) => {
  console.error(String(error && error.message))
  process.exit(1)
})
