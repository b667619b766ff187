import { Composer, Document, type ErrorCode, Lexer, type Node, Parser } from 'yaml';
import { convertYaml } from './convert-yaml.ts';
import { type Diagnostic, MAX_DIAGNOSTICS } from './diagnostic.ts';
import { locateIn, makeDiagnostic, type Span, type YamlSource } from './yaml-source.ts';

/** Bytes of a file. */
const MAX_FILE_BYTES = 512 * 1024;
/** Lexical pieces (a key, a colon, a space, a value): a dense pipeline of 2,000 lines has about 14,000. */
const MAX_TOKENS = 25_000;
/** Anchors and tags: each wrong one costs the library an error object. */
const MAX_PROPERTIES = 1000;
/** Open collections of the parser, before anything recursive sees them. */
const MAX_NESTING = 200;

/** Only text, lists and maps: what is a number is told from its text when it is converted, and so are keys that stand twice. */
const COMPOSER_OPTIONS = {
  version: '1.2',
  schema: 'failsafe',
  resolveKnownTags: false,
  uniqueKeys: false,
  prettyErrors: false,
} as const;

/** Reads a YAML file with every mistake in it; never throws, and stops early at sizes that no pipeline has. */
export function readYaml(text: string, file: string): YamlSource {
  const diagnostics: Diagnostic[] = [];
  const report = (span: Span, code: string, message: string, hint?: string): void => {
    if (diagnostics.length < MAX_DIAGNOSTICS)
      diagnostics.push(makeDiagnostic(file, text, span, { code, message, hint }));
  };
  const nothing = (): YamlSource => ({ file, text, value: undefined, diagnostics, locate: () => undefined });

  if (text.length > MAX_FILE_BYTES || Buffer.byteLength(text) > MAX_FILE_BYTES) {
    report({ start: 0, end: 0 }, 'file-too-large', `The file is larger than ${MAX_FILE_BYTES / 1024} KiB.`);
    return nothing();
  }
  const document = compose(text, report);
  if (!document) return nothing();
  for (const error of document.errors) reportSyntax(error, text, report);
  for (const warning of document.warnings) {
    if (warning.code === 'TAG_RESOLVE_FAILED')
      report(
        { start: warning.pos[0], end: warning.pos[1] },
        'yaml-tag',
        'A YAML tag such as `!name` means nothing here.',
        'Quote text that starts with `!`: "!main".',
      );
    else reportSyntax(warning, text, report);
  }
  if (document.errors.length > 0) return nothing();
  const { value, targets } = convertYaml(document.contents, report);
  // A document takes 500 times the room of its text: it is made again where a place is asked for after it is gone.
  let tree = new WeakRef({ document, targets });
  return {
    file,
    text,
    value,
    diagnostics,
    locate(path, what) {
      const { document: root, targets: aliases } = tree.deref() ?? again();
      return locateIn(root, aliases, path, what);
    },
  };

  function again(): { document: Document; targets: Map<unknown, Node> } {
    const silent = (): void => undefined;
    const root = compose(text, silent) ?? new Document();
    const made = { document: root, targets: convertYaml(root.contents, silent).targets };
    tree = new WeakRef(made);
    return made;
  }
}

/** The library's lexer drives its parser by hand, so that size and depth are bounded while they grow. */
function compose(text: string, report: (span: Span, code: string, message: string) => void): Document | undefined {
  const lexer = new Lexer();
  const parser = new Parser();
  const composer = new Composer(COMPOSER_OPTIONS);
  const documents: Document[] = [];
  let tokens = 0;
  let properties = 0;
  let errors = 0;
  lexemes: for (const lexeme of lexer.lex(text)) {
    tokens += 1;
    if (lexeme.startsWith('&') || lexeme.startsWith('!')) properties += 1;
    const tooMany = tokens > MAX_TOKENS || properties > MAX_PROPERTIES;
    if (tooMany || parser.stack.length > MAX_NESTING) {
      const [code, message] = tooMany
        ? (['too-large', 'The file has more keys and values than a pipeline can have.'] as const)
        : (['too-deep', 'The file is nested too deeply.'] as const);
      report({ start: parser.offset, end: parser.offset + lexeme.length }, code, message);
      return undefined;
    }
    for (const token of parser.next(lexeme)) {
      // After so many the rest would only be more of them, and each costs an error object.
      if (token.type === 'error') errors += 1;
      if (errors > MAX_DIAGNOSTICS) break lexemes;
      documents.push(...composer.next(token));
    }
    if (documents.length > 1) break;
  }
  if (documents.length <= 1) {
    for (const token of parser.end()) documents.push(...composer.next(token));
    documents.push(...composer.end(true, text.length));
  }
  const second = documents[1]?.range?.[0];
  if (second !== undefined)
    report(
      { start: second, end: second },
      'yaml-documents',
      'A file holds one pipeline: remove the second `---` document, or put it in a file of its own under .impgem/.',
    );
  return documents[0];
}

const SENTENCES: Partial<Record<ErrorCode, string>> = {
  TAB_AS_INDENT: 'Tabs cannot indent YAML: use spaces.',
  BAD_INDENT: 'The indentation does not fit the lines around it.',
  BAD_SCALAR_START: 'This character cannot start a plain value: quote the value.',
  BAD_DQ_ESCAPE: 'This escape is not known in double quotes: write it in single quotes, or double the backslash.',
  MULTILINE_IMPLICIT_KEY: 'A key must stand on one line; is a `:` or a quote missing?',
  BLOCK_AS_IMPLICIT_KEY: 'A nested map must start on a line of its own; does a value with `: ` need quotes?',
  MISSING_CHAR: 'Something is not closed: a quote, `]`, `}`, `,` or `:` is missing.',
  UNEXPECTED_TOKEN: 'This was not expected here.',
  MULTIPLE_DOCS: 'A file holds one pipeline.',
  BAD_ALIAS: 'An alias must be `*name`; quote text that starts with `*`.',
  KEY_OVER_1024_CHARS: 'A key has at most 1024 characters.',
  BLOCK_IN_FLOW: 'Inside `[ ]` and `{ }` only the same form may stand.',
};

function reportSyntax(
  error: { code: ErrorCode; message: string; pos: [number, number] },
  text: string,
  report: (span: Span, code: string, message: string) => void,
): void {
  const [start, end] = error.pos;
  const sentence =
    SENTENCES[error.code] ?? `This is not valid YAML: ${error.message.split('\n')[0]?.slice(0, 100) ?? ''}`;
  report({ start: Math.min(start, text.length), end: Math.min(end, text.length) }, 'yaml-syntax', sentence);
}
