import { build } from 'esbuild';

/** Bundles the scripts and the style sheet of the pages into a folder, as the build does. */
export async function bundleWeb(folder: string): Promise<void> {
  await build({
    entryPoints: ['run-page.ts', 'list-page.ts', 'style.css'].map((name) => `src/web/client/${name}`),
    outdir: folder,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    minify: true,
    logLevel: 'error',
  });
}
