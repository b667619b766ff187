#!/usr/bin/env bash
# Every test, then the ones that passed only at a second try, and one line that counts all. Starts the Docker engine that the tests use when none answers.
set -euo pipefail
cd "$(dirname "$0")/.."

.ci/docker-engine.sh
report=$(mktemp)
trap 'rm -f "$report"' EXIT
status=0
npx vitest run --reporter=default --reporter=json --outputFile.json="$report" "$@" || status=$?
node -e '
  const { numPassedTests: passed, numFailedTests: failed, numPendingTests: pending, numFailedTestSuites: suites, testResults } = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
  // What has failed and passed keeps the message of its failure.
  const again = testResults.flatMap(({ name, assertionResults }) =>
    assertionResults
      .filter(({ status, failureMessages }) => status === "passed" && failureMessages.length > 0)
      .map(({ fullName, failureMessages }) => `  ${require("path").relative(".", name)}: ${fullName}: ${failureMessages[0].split("\n")[0]}`),
  );
  if (again.length > 0) console.log(`${again.length} passed only at a second try:\n${again.join("\n")}`);
  console.log(`${passed} passed, ${failed || (passed === 0 ? suites : 0)} failed${pending ? `, ${pending} skipped` : ""}`);
' "$report"
exit $status
