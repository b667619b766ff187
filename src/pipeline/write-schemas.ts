import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { PipelineSchema } from './schema.ts';

/** The schema of pipeline files as JSON text, for editors. */
export function pipelineSchemaText(): string {
  return `${JSON.stringify(PipelineSchema, null, 2)}\n`;
}

/** Writes the schemas that editors use into `folder` (`schemas/`). */
export async function writeSchemas(folder: string): Promise<void> {
  await writeFile(resolve(folder, 'pipeline.json'), pipelineSchemaText());
}
