/** Whatever the documentation refers to exists: files, headings, commands, scripts, targets, settings. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { SettingsSchema } from '../../src/config/schema.ts';
import { VARIABLES } from '../../src/worker/environment.ts';
import { anchorsOf, codeOf, localLinks, markdownFiles, readText, ROOT } from '../support/markdown.ts';

const manifest = JSON.parse(readText('package.json')) as { scripts: Record<string, string> };
const targets = [...readText('Makefile').matchAll(/^([a-z-]+):/gm)].map(([, name = '']) => name);
const help = execFileSync(process.execPath, ['dist/impgem.js', '--help'], { cwd: ROOT, encoding: 'utf8' });
const commands = [...help.matchAll(/^ {2}([a-z]+)(?: \[|\s{2,})/gm)].map(([, name = '']) => name);

describe.each(markdownFiles)('%s', (file) => {
  test('links lead to files and headings', () => {
    for (const { target, anchor } of localLinks(file)) {
      expect(existsSync(resolve(ROOT, target)), `${target} exists`).toBe(true);
      if (anchor !== '' && target.endsWith('.md')) expect(anchorsOf(target), target).toContain(anchor);
    }
  });

  test('paths between backticks exist', () => {
    const paths = codeOf(file).filter(
      (text) => /^(src|test|docs|bench|schemas|\.ci)\/[\w./-]+$/.test(text) && !text.includes('NAME'),
    );
    for (const path of paths) expect(existsSync(resolve(ROOT, path)), `${path} exists`).toBe(true);
  });

  test('commands exist', () => {
    for (const [, command = ''] of codeOf(file).flatMap((text) => [...text.matchAll(/(?:^|[;&|] *)impgem ([a-z]+)/g)]))
      expect(commands).toContain(command);
    for (const [, script = ''] of codeOf(file).flatMap((text) => [...text.matchAll(/\bnpm run ([a-z:]+)/g)]))
      expect(file.startsWith('examples/') || script in manifest.scripts, `npm run ${script}`).toBe(true);
    for (const [, target = ''] of codeOf(file).flatMap((text) => [...text.matchAll(/(?:^|[;&|] *)make ([a-z-]+)/g)]))
      expect(targets).toContain(target);
  });

  test('settings and variables exist', () => {
    const known = new Set([...Object.keys(SettingsSchema.properties), ...VARIABLES.map(({ name }) => name)]);
    for (const [name] of readText(file).matchAll(/\bIMPGEM_[A-Z_]*[A-Z]\b/g))
      expect(known.has(name) || known.has(name.replace(/_FILE$/, '')), name).toBe(true);
  });
});
