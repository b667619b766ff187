/** Builds dist/: the command with its lazily loaded parts, and the script and style sheet of the pages. */
import { chmodSync, existsSync } from 'node:fs';
import { build, context } from 'esbuild';

const watch = process.argv.includes('--watch');

const node = {
  entryPoints: { impgem: 'src/cli/main.ts', ...(existsSync('bench/main.ts') ? { bench: 'bench/main.ts' } : {}) },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  packages: 'external',
  sourcemap: true,
  logLevel: 'warning',
};
const pages = {
  entryPoints: ['run-page.ts', 'list-page.ts', 'style.css'].map((name) => `src/web/client/${name}`),
  outdir: 'dist/web',
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  logLevel: 'warning',
};

if (watch) {
  const contexts = await Promise.all([context(node), context(pages)]);
  await Promise.all(contexts.map((one) => one.watch()));
} else {
  await Promise.all([build(node), build(pages)]);
  chmodSync('dist/impgem.js', 0o755);
}
