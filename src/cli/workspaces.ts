import { ImpGemError } from '../errors.ts';
import type { Forge } from '../forges/forge.ts';
import type { Git } from '../git/git.ts';
import { type ForgeName, parseRepository } from '../runs/event.ts';
import type { WorkspaceSource } from '../worker/ports.ts';

/** Workspaces from this machine's mirrors, which fetch what they lack. */
export function createWorkspaces(git: Git, forges: Map<ForgeName, Forge>): WorkspaceSource {
  return {
    async create({ run, event, clone }, folder, signal) {
      if (clone.skip) return {};
      const repository = parseRepository(run.repository);
      const forge = repository && forges.get(repository.forge);
      if (!repository || !forge)
        throw new ImpGemError('forge-unknown', `This worker has no forge set up for ${run.repository}`);
      const source = forge.clone(repository.owner, repository.name);
      // The branch a person works on: of a pull request its source, not the target that the run is listed under.
      const branch = event.pullRequest?.sourceBranch ?? run.branch;
      return git.createWorkspace(
        run.repository,
        {
          folder,
          source,
          ref: event.ref,
          sha: run.sha,
          clone,
          ...(branch === undefined ? {} : { branch }),
          ...(run.tag === undefined ? {} : { tag: run.tag }),
        },
        signal,
      );
    },
    objects: ({ run, clone }) => (clone.skip ? undefined : git.objectsOf(run.repository)),
  };
}
