#!/usr/bin/env bash
# A table moves to another account, and stays in use meanwhile.
#
#   examples/migrate_account.sh TABLE PROFILE [REGION]
#
# PROFILE is a profile of the other account in ~/.aws/config; the table keeps its name. It ends when
# both tables hold the same, with the mirror still running: stop your writers, wait until
# `dynamirror status --wait-drained` says so, start them in the new account, then press Ctrl-C.
# docs/runbooks/cut-over.md has that part step by step. Everything can be stopped and begun again.
set -euo pipefail

table=$1 profile=$2 region=${3:-us-east-1}

# `ledger` refuses what comes late or twice, and lets the copy run beside live writes.
cat > migrate.toml <<TOML
[mirrors.migrate]
mode = "one-way"
guard = "ledger"
source = { region = "$region", table = "$table" }
targets = [{ region = "$region", table = "$table", name = "new", profile = "$profile" }]
TOML

# The target from the source's schema, the stream, tables of dynamirror's own. What `init` can't
# copy (alarms, policies, a KMS key) it names: that is yours to make.
dynamirror init migrate.toml --yes

# First follow, then copy: the stream keeps 24 hours, a copy may take longer.
dynamirror run migrate.toml 2> migrate.log &
engine=$!
trap 'kill -INT $engine 2> /dev/null || true' EXIT

dynamirror backfill migrate.toml --yes
dynamirror status migrate.toml --wait-drained
dynamirror verify migrate.toml

echo "both accounts hold the same; now cut over, then press Ctrl-C"
wait $engine || true
