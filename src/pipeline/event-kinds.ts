/** Apart from the schema: who only needs these need not load the library that builds it. */
export const EVENT_KINDS = ['push', 'tag', 'pull_request', 'cron', 'manual', 'api'] as const;
