import { describe, expect, it } from 'vitest';
import { parseNestedOptions } from '../../src/executors/docker/nested-options.ts';
import { NESTED_OPTIONS } from '../support/nested-image.ts';

const NONE = { Privileged: false, CapAdd: [], CapDrop: [], SecurityOpt: [], Binds: [], Devices: [] };

describe('parseNestedOptions', () => {
  it.each([
    ['', NONE],
    ['--privileged', { ...NONE, Privileged: true }],
    [' --runtime   sysbox-runc ', { ...NONE, Runtime: 'sysbox-runc' }],
    ['--runtime=sysbox-runc', { ...NONE, Runtime: 'sysbox-runc' }],
    ['-v /a:/b:ro --volume /c:/d', { ...NONE, Binds: ['/a:/b:ro', '/c:/d'] }],
    [
      '--device /dev/fuse',
      { ...NONE, Devices: [{ PathOnHost: '/dev/fuse', PathInContainer: '/dev/fuse', CgroupPermissions: 'rwm' }] },
    ],
    [
      NESTED_OPTIONS,
      {
        ...NONE,
        CapAdd: ['ALL'],
        CapDrop: ['SYS_RESOURCE'],
        SecurityOpt: ['seccomp=unconfined', 'apparmor=unconfined'],
        MaskedPaths: [],
        ReadonlyPaths: [],
        Binds: ['/sys/fs/cgroup:/sys/fs/cgroup'],
      },
    ],
  ])('takes "%s"', (text, rights) => {
    expect(parseNestedOptions(text)).toEqual(rights);
  });

  it.each(['--network host', '--priviledged', 'privileged', '--cap-add', '--privileged=yes', '-p 1:1'])(
    'refuses "%s", naming the setting and what is known',
    (text) => {
      expect(() => parseNestedOptions(text)).toThrow(/IMPGEM_NESTED_ENGINE_OPTIONS.*--cap-add, --cap-drop/s);
    },
  );
});
