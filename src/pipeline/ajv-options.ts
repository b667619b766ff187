/**
 * All mistakes at once, each with the part of the schema that it breaks. The schema itself is held right by a test.
 * Messages are our own, and what is referred to is one function, not a copy at each place: the code that is generated, read
 * by every process at its start, is a fifth shorter.
 * Lengths are those of JavaScript: counting code points walks all of a script again for every step that has it by an alias.
 * The logger would only say that this option is an old one.
 */
export const AJV_OPTIONS = {
  allErrors: true,
  verbose: true,
  messages: false,
  inlineRefs: false,
  validateSchema: false,
  strict: false,
  unicode: false,
  logger: false,
} as const;
