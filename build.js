/**
 * Builds dist/: the command with its lazily loaded parts, and the scripts and the style sheet of the pages. Libraries are
 * bundled in: one file to read instead of hundreds makes a process start sooner and smaller.
 */
import { chmodSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Ajv } from 'ajv';
import standaloneCode from 'ajv/dist/standalone/index.js';
import { build, context } from 'esbuild';

const watch = process.argv.includes('--watch');
const bench = process.argv.includes('--bench');

/** Exports of a source file, evaluated now. */
async function evaluate(file) {
  const folder = await mkdtemp('node_modules/.impgem-');
  try {
    const outfile = join(folder, 'module.mjs');
    await build({ entryPoints: [file], outfile, bundle: true, format: 'esm', platform: 'node', packages: 'external' });
    return await import(pathToFileURL(outfile).href);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The schema of the settings as plain data, and its validator as generated code: neither typebox nor ajv at run time. */
const settings = {
  name: 'settings',
  setup({ onLoad }) {
    onLoad({ filter: /src\/config\/schema\.ts$/ }, async ({ path }) => {
      const { SettingsSchema } = await evaluate(path);
      return { contents: `export const SettingsSchema = ${JSON.stringify(SettingsSchema)};`, loader: 'js' };
    });
    onLoad({ filter: /src\/config\/validate-settings\.ts$/ }, async () => {
      const { SettingsSchema } = await evaluate('src/config/schema.ts');
      const { AJV_OPTIONS } = await evaluate('src/config/ajv-options.ts');
      const ajv = new Ajv({ ...AJV_OPTIONS, code: { source: true, esm: true } });
      const code = standaloneCode.default(ajv, ajv.compile(SettingsSchema));
      return { contents: `${code}\nexport { validate as validateSettings };`, loader: 'js', resolveDir: process.cwd() };
    });
  },
};

/** dockerode brings an SSH client, and gRPC for BuildKit sessions: half of a worker's memory, for ways we do not go. */
const withoutSsh = {
  name: 'without-ssh',
  setup({ onLoad }) {
    const contents =
      "module.exports = () => { throw new Error('engines are reached by unix://, tcp:// and https:// only'); };";
    onLoad({ filter: /docker-modem\/lib\/ssh\.js$|dockerode\/lib\/session\.js$/ }, () => ({ contents }));
  },
};

const node = {
  entryPoints: {
    impgem: 'src/cli/main.ts',
    ...(bench ? { bench: 'bench/main.ts', 'bare-intake': 'bench/bare-intake.ts' } : {}),
  },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  minifyWhitespace: true,
  minifySyntax: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  // Optional native speed-ups; everything works without them.
  external: ['cpu-features', '*.node'],
  banner: {
    js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
  },
  plugins: [settings, withoutSsh],
  legalComments: 'none',
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
