import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { ImpGemError, systemCode, whyUnreadable } from '../errors.ts';
import { nearest } from './nearest.ts';
import { type Settings, SettingsSchema } from './schema.ts';
import { validateSettings } from './validate-settings.ts';

const NAMES = Object.keys(SettingsSchema.properties);
const OURS = /^IMPGEM_/;
/** What every step of ours has in its environment: no mistake of whoever starts us inside a step. */
const OF_STEPS =
  /^IMPGEM_(ATTEMPT|CRON|ENV|JOB|JOB_NAME|OUTPUT|PATH|PIPELINE|REPOSITORY|RETRY|RUN|SUMMARY|VERSION|DEBUG)$/;

/** Names of settings whose value must never be shown. */
const SECRET_SETTINGS = Object.entries(SettingsSchema.properties)
  .filter(([, schema]) => 'secret' in schema)
  .map(([name]) => name);

/**
 * Settings from `env`, a `.env` file in `folder` (the environment wins), and `NAME_FILE` for each NAME.
 * Throws ImpGemError `settings-invalid` whose message names every bad key, one a line; never a value of a secret.
 */
export function readSettings(env: NodeJS.ProcessEnv = process.env, folder = process.cwd()): Settings {
  const problems: string[] = [];
  const given: Record<string, string> = {};
  const dotEnv = readDotEnv(resolve(folder, '.env'));
  if (typeof dotEnv === 'string') problems.push(`.env: ${dotEnv}`);
  const all = { ...(typeof dotEnv === 'string' ? {} : dotEnv), ...withoutUndefined(env) };
  for (const [name, value] of Object.entries(all)) {
    if (NAMES.includes(name)) {
      if (value !== '') given[name] = value;
    } else if (name.endsWith('_FILE') && NAMES.includes(name.slice(0, -5))) {
      const target = name.slice(0, -5);
      if (value === '') continue;
      if (all[target]) problems.push(`${name}: ${target} is set as well; keep one of the two`);
      else
        try {
          given[target] = readFileSync(resolve(folder, value), 'utf8').trimEnd();
        } catch (error) {
          problems.push(`${name}: the file "${value}" ${whyUnreadable(error)}`);
        }
    } else if (OURS.test(name) && !OF_STEPS.test(name)) {
      const near = nearest(name, NAMES);
      problems.push(`${name}: no such setting${near ? `; did you mean ${near}?` : ''}`);
    }
  }
  const settings: unknown = { ...given };
  if (!validateSettings(settings)) {
    const bad = new Set<string>();
    for (const error of validateSettings.errors ?? []) {
      const name = error.instancePath.slice(1);
      if (bad.has(name)) continue;
      bad.add(name);
      const schema = SettingsSchema.properties[name as keyof Settings];
      const shown = SECRET_SETTINGS.includes(name) ? '' : ` (is "${withoutPassword(given[name] ?? '')}")`;
      problems.push(
        `${name}: ${explain(error.keyword, error.params, schema)}${shown}. ${'description' in schema ? String(schema.description) : ''}`,
      );
    }
  }
  for (const [name, value] of Object.entries(given)) {
    const schema = SettingsSchema.properties[name as keyof Settings];
    // Of which the pattern sees the beginning only.
    if (!('pattern' in schema) || !String(schema.pattern).includes('://')) continue;
    if (new RegExp(String(schema.pattern)).test(value) && !URL.canParse(value))
      problems.push(`${name}: must be a whole address, with a host (is "${withoutPassword(value)}")`);
  }
  if (problems.length > 0)
    throw new ImpGemError(
      'settings-invalid',
      `Settings are not valid:\n${problems.map((line) => `  ${line}`).join('\n')}`,
    );
  return settings as Settings;
}

function withoutPassword(value: string): string {
  return value.replace(/\/\/[^/]*@/, '//***@');
}

const TYPES: Record<string, string> = { integer: 'a whole number', number: 'a number', boolean: 'true or false' };
const LIMITS: Record<string, string> = { minimum: 'at least', maximum: 'at most', exclusiveMinimum: 'more than' };

function explain(keyword: string, params: Record<string, string | number>, schema: object): string {
  if (keyword === 'const' || keyword === 'anyOf' || keyword === 'enum') {
    const options = 'anyOf' in schema && Array.isArray(schema.anyOf) ? (schema.anyOf as { const: string }[]) : [];
    return `must be one of ${options.map((option) => option.const).join(', ')}`;
  }
  if (keyword === 'pattern') return `must be ${'form' in schema ? String(schema.form) : 'of another form'}`;
  if (keyword === 'type') return `must be ${TYPES[String(params['type'])] ?? 'a text'}`;
  if (keyword === 'minLength') return `must have at least ${String(params['limit'])} characters`;
  return `must be ${LIMITS[keyword] ?? 'within'} ${params['limit'] ?? 'its limits'}`;
}

/** A sentence instead when there is a file that cannot be read. */
function readDotEnv(file: string): Record<string, string> | string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    return systemCode(error) === 'ENOENT' ? {} : whyUnreadable(error);
  }
  const found: Record<string, string> = {};
  for (const line of text.split('\n')) {
    const match = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$/.exec(line);
    if (!match) continue;
    const [, name, raw] = match as unknown as [string, string, string];
    found[name] = /^(["'])(.*)\1$/.exec(raw)?.[2] ?? raw.replace(/\s+#.*$/, '');
  }
  return found;
}

function withoutUndefined(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter((pair): pair is [string, string] => pair[1] !== undefined));
}
