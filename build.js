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

/** Code that ajv generates for a schema, as an ES module with the export `validate`. */
async function validatorOf(folder, schema) {
  const { AJV_OPTIONS } = await evaluate(`${folder}/ajv-options.ts`);
  const ajv = new Ajv({ ...AJV_OPTIONS, code: { source: true, esm: true } });
  return standaloneCode.default(ajv, ajv.compile(schema));
}

/** Schemas as plain data and their validators as generated code: neither typebox nor ajv at run time. */
const schemas = {
  name: 'schemas',
  setup({ onLoad }) {
    const replace = (file, make) =>
      onLoad({ filter: new RegExp(`/${file.replaceAll('.', '[.]')}$`) }, async () => ({
        contents: await make(),
        loader: 'js',
        resolveDir: process.cwd(),
      }));
    const settings = async () => (await evaluate('src/config/schema.ts')).SettingsSchema;
    replace('src/config/schema.ts', async () => `export const SettingsSchema = ${JSON.stringify(await settings())};`);
    replace('src/config/validate-settings.ts', async () => {
      const code = await validatorOf('src/config', await settings());
      return `${code}\nexport { validate as validateSettings };`;
    });
    const pipeline = async () => (await evaluate('src/pipeline/schema.ts')).PipelineSchema;
    replace('src/pipeline/schema.ts', async () => `export const PipelineSchema = ${JSON.stringify(await pipeline())};`);
    replace('src/pipeline/validate-pipeline.ts', async () => {
      const code = await validatorOf('src/pipeline', await pipeline());
      return `${code}\nexport const pipelineValidator = () => validate;`;
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
  plugins: [schemas, withoutSsh],
  // The build of yaml for Node asks process.env once for each token.
  alias: { yaml: './node_modules/yaml/browser/index.js' },
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
