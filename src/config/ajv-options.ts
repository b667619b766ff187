/** All mistakes at once; texts of the environment become numbers and booleans. */
export const AJV_OPTIONS = { allErrors: true, coerceTypes: true, useDefaults: true, keywords: ['secret', 'form'] };
