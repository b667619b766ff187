/** Keys that people bring along from other systems, and what they are called here. */
const ELSEWHERE: Record<string, string> = {
  after_script: 'Use a last step with `when: { status: always }`.',
  before_script: 'Make it the first step.',
  cap_add: 'No step gets more rights than a build needs.',
  commands: 'Write `run`.',
  container: 'Write `image`.',
  'continue-on-error': 'Write `allow-failure`.',
  'cancel-in-progress': 'Write `mode: cancel`.',
  depends_on: 'Write `needs`.',
  dependencies: 'Write `needs`.',
  detach: 'Write `background: true`, or make it a service.',
  devices: 'No step gets a device of the host.',
  directory: 'Write `working-directory`.',
  environment: 'Write `env`.',
  except: 'Write `when` with `!`.',
  extends: 'Use a YAML anchor: `<<: *template`.',
  failure: 'Write `allow-failure: true`.',
  if: 'Write `when: { if: ... }`.',
  'max-parallel': 'Use `concurrency`.',
  network_mode: 'Only `network: none` exists.',
  on: 'Write `when: { event: ... }`.',
  only: 'Write `when`.',
  privileged: 'No step is privileged; `docker: true` gives a nested engine to trusted repositories.',
  rules: 'Write `when`.',
  script: 'Write `run`.',
  stage: 'Write `needs` between jobs.',
  stages: 'Write `needs` between jobs.',
  strategy: 'Write `matrix` at the job itself.',
  tags: 'Write `runs-on`.',
  'timeout-minutes': 'Write `timeout: 10m`.',
  trigger: 'Write `when`.',
  uses: 'There are no actions: write the commands in `run`, or share them with `include`.',
  variables: 'Write `env`.',
  volumes: 'No step sees a folder of the host; use `cache` or `artifacts`.',
  with: 'Write `env`.',
};

/** What to write instead; undefined when the key is not one of another system. */
export function foreignKeyHint(key: string): string | undefined {
  return Object.hasOwn(ELSEWHERE, key) ? ELSEWHERE[key] : undefined;
}
