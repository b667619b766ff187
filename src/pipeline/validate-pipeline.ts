import { Ajv, type ValidateFunction } from 'ajv';
import { AJV_OPTIONS } from './ajv-options.ts';
import { PipelineSchema } from './schema.ts';

let compiled: ValidateFunction | undefined;

/**
 * Checks a value against the schema of pipelines. The build replaces this file with the code that ajv generates from the
 * same schema and options, so that the first push after a start does not wait for a compiler.
 */
export function pipelineValidator(): ValidateFunction {
  compiled ??= new Ajv(AJV_OPTIONS).compile(PipelineSchema);
  return compiled;
}
