/** What the tests of the documentation read out of Markdown. Files are named by their path from the root of the repository. */
import { readFileSync } from 'node:fs';
import { dirname, normalize, resolve } from 'node:path';
import { globSync } from 'tinyglobby';

export const ROOT = resolve(import.meta.dirname, '../..');

export const markdownFiles = globSync(['*.md', 'docs/**/*.md', 'examples/**/*.md'], { cwd: ROOT }).sort();

export function readText(file: string): string {
  return readFileSync(resolve(ROOT, file), 'utf8');
}

/** Blocks between fences, those of one language only if it is given. */
export function codeBlocks(file: string, language?: string): string[] {
  const blocks = readText(file).matchAll(/^( *)```(\S*)\n(.*?)^\1```$/gms);
  return [...blocks].filter(([, , tag]) => language === undefined || tag === language).map(([, , , text = '']) => text);
}

/** The text outside of fences. */
export function prose(file: string): string {
  return readText(file).replaceAll(/^( *)```.*?^\1```$/gms, '');
}

/** Words between backticks, and the lines of blocks of shell commands. */
export function codeOf(file: string): string[] {
  const inline = [...prose(file).matchAll(/`([^`\n]+)`/g)].map(([, text = '']) => text);
  return [
    ...inline,
    ...['sh', 'bash'].flatMap((language) => codeBlocks(file, language)).flatMap((text) => text.split('\n')),
  ];
}

/** Links to files of the repository: where they lead, and the heading. */
export function localLinks(file: string): { target: string; anchor: string }[] {
  return [...prose(file).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link = '']) => link)
    .filter((link) => !/^[a-z]+:/.test(link))
    .map((link) => {
      const [path = '', anchor = ''] = link.split('#');
      return { target: path === '' ? file : normalize(`${dirname(file)}/${path}`), anchor };
    });
}

/** Anchors of the headings, as GitHub and Gitea make them. */
export function anchorsOf(file: string): string[] {
  return [...prose(file).matchAll(/^#{1,6} (.+)$/gm)].map(([, text = '']) =>
    text
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}
