import { Ajv, type ValidateFunction } from 'ajv';
import { AJV_OPTIONS } from './ajv-options.ts';
import { type Settings, SettingsSchema } from './schema.ts';

/**
 * Fills in defaults, coerces numbers and booleans, and checks. The build replaces this file with the code that ajv
 * generates from the same schema and options: a worker at rest must not carry a schema compiler.
 */
export const validateSettings: ValidateFunction<Settings> = new Ajv(AJV_OPTIONS).compile<Settings>(SettingsSchema);
