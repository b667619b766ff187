#!/usr/bin/env bash
# Every test, then one line that counts them. Starts the Docker engine that the tests use when none answers.
set -euo pipefail
cd "$(dirname "$0")/.."

.ci/docker-engine.sh
report=$(mktemp)
trap 'rm -f "$report"' EXIT
status=0
npx vitest run --reporter=default --reporter=json --outputFile.json="$report" "$@" || status=$?
node -e '
  const { numPassedTests: passed, numFailedTests: failed, numPendingTests: pending, numFailedTestSuites: suites } = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
  console.log(`${passed} passed, ${failed || (passed === 0 ? suites : 0)} failed${pending ? `, ${pending} skipped` : ""}`);
' "$report"
exit $status
