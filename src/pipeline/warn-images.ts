import type { Warn } from './find-warnings.ts';
import { parseImageReference } from './image-reference.ts';
import type { KeyedJob } from './jobs-of.ts';
import type { PipelineSource } from './schema.ts';
import { hasExpression } from './split-template.ts';
import type { Path } from './yaml-source.ts';

/** An image without a tag is another one tomorrow. */
export function warnOfImages(source: PipelineSource, jobs: readonly KeyedJob[], warn: Warn): void {
  const check = (image: string | undefined, path: Path): void => {
    if (image === undefined || hasExpression(image)) return;
    const { tag, digest } = parseImageReference(image) ?? {};
    if (digest !== undefined || (tag !== undefined && tag !== 'latest')) return;
    warn(path, {
      code: 'image-without-tag',
      message: tag === undefined ? `\`${image}\` has no tag.` : `\`${image}\` is whatever is the latest.`,
      hint: `Name a version, such as \`${image.replace(/:latest$/, '')}:1.2\`, or a digest.`,
    });
  };
  check(source.image, ['image']);
  for (const { job, path } of jobs) {
    check(job.image, [...path, 'image']);
    for (const [name, { image }] of Object.entries(job.services ?? {}))
      check(image, [...path, 'services', name, 'image']);
    for (const [index, { image }] of job.steps.entries()) check(image, [...path, 'steps', index, 'image']);
  }
}
