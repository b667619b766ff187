import { SettingsSchema } from './schema.ts';

/** Every setting as a Markdown table: the one in the README is made of this, and a test says when it is stale. */
export function settingsTable(): string {
  const rows = Object.entries(SettingsSchema.properties).map(([name, schema]) => {
    const fallback = 'default' in schema ? `\`${String(schema.default)}\`` : '';
    const description = 'description' in schema ? String(schema.description) : '';
    const secret = 'secret' in schema ? ` Or \`${name}_FILE\`.` : '';
    return `| \`${name}\` | ${fallback} | ${description.replaceAll('|', '\\|')}${secret} |`;
  });
  return `| Setting | Default | What it does |\n| --- | --- | --- |\n${rows.join('\n')}\n`;
}
