/** The images of one job: each is asked for once, so that the job sees one image behind a tag and its log one pull. */
import type { Images, Note } from './images.ts';

export interface JobImages {
  /** Of the job's log. */
  note: Note;
  /** As `ensure` of Images; a failed one is tried again for the next that wants it. */
  ensure(image: string): Promise<string>;
}

export function createJobImages(images: Pick<Images, 'ensure'>, note: Note): JobImages {
  const known = new Map<string, Promise<string>>();
  return {
    note,
    ensure(image) {
      const digest = known.get(image) ?? images.ensure(image, note);
      known.set(image, digest);
      digest.catch(() => known.delete(image));
      return digest;
    },
  };
}
