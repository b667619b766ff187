/** All mistakes at once, each with the part of the schema that it breaks. The schema itself is held right by a test. */
export const AJV_OPTIONS = { allErrors: true, verbose: true, validateSchema: false, strict: false };
