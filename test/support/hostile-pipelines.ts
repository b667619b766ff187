/** Pipeline files that are meant to hurt, with the code of the diagnostic that each must get. */
export function hostilePipelines(): Record<string, { text: string; code: string }> {
  const letters = 'abcdefghij'.split('');
  const tail = '\nsteps: [{ run: make }]';
  const times = (count: number, line: (index: number) => string) =>
    Array.from({ length: count }, (_, i) => line(i)).join('\n');
  const numbers = (count: number) => times(count, String).replaceAll('\n', ', ');
  return {
    'alias bomb': {
      text: `x-a: &a [${'x,'.repeat(10)}]\n${times(9, (i) => `x-${letters[i + 1]!}: &${letters[i + 1]!} [${`*${letters[i]!},`.repeat(10)}]`)}${tail}`,
      code: 'too-large',
    },
    'alias bomb of maps': {
      text: `x-a: &a {a: 1, b: 2}\n${times(20, (i) => `x-b${i}: &b${i} {l: *${i ? `b${i - 1}` : 'a'}, r: *${i ? `b${i - 1}` : 'a'}}`)}${tail}`,
      code: 'too-large',
    },
    'chain of merge keys': {
      text: `x-a: &a {k: v}\n${times(400, (i) => `x-b${i}: &b${i} {<<: [*${i ? `b${i - 1}` : 'a'}, *a], k${i}: v}`)}${tail}`,
      code: 'too-deep',
    },
    'depth 10,000 of lists': { text: `${'['.repeat(10_000)}${']'.repeat(10_000)}`, code: 'too-deep' },
    'depth 10,000 of open lists': { text: '['.repeat(10_000), code: 'too-deep' },
    'depth 10,000 of dashes': { text: `${'- '.repeat(10_000)}a`, code: 'too-deep' },
    'depth 10,000 of explicit keys': { text: `${'? '.repeat(10_000)}a`, code: 'too-deep' },
    'depth 900 by indentation': { text: times(900, (i) => `${' '.repeat(i)}a:`), code: 'too-deep' },
    '10,000 keys': { text: times(10_000, (i) => `k${i}: v`), code: 'too-large' },
    '10,000 keys in one line': {
      text: `{${times(10_000, (i) => `k${i}: v`).replaceAll('\n', ', ')}}`,
      code: 'too-large',
    },
    '10,000 jobs': { text: `jobs:\n${times(10_000, (i) => `  j${i}: v`)}`, code: 'too-large' },
    '10,000 anchors': { text: `x: ${'&a '.repeat(10_000)}`, code: 'too-large' },
    '10,000 tags': { text: `x: [${'!a b,'.repeat(10_000)}]`, code: 'too-large' },
    '100,000 comments': { text: '# x\n'.repeat(100_000), code: 'too-large' },
    '100,000 documents': { text: '---\n'.repeat(100_000), code: 'yaml-documents' },
    '400,000 closing braces': { text: '}'.repeat(400_000), code: 'yaml-syntax' },
    '100,000 quotes': { text: '"'.repeat(100_000), code: 'too-large' },
    '1 MB script': { text: `steps: [{ run: "${'x'.repeat(1_000_000)}" }]`, code: 'file-too-large' },
    '400 KB script': { text: `steps: [{ run: "${'x'.repeat(400_000)}" }]`, code: 'too-long' },
    '1 MB key': { text: `"${'k'.repeat(1_000_000)}": 1`, code: 'file-too-large' },
    '5 MB': { text: `steps: [{ run: "${'x'.repeat(5_000_000)}" }]`, code: 'file-too-large' },
    '1,000 long unknown keys': { text: times(500, (i) => `${'k'.repeat(900)}${i}: 1`), code: 'unknown-key' },
    'unknown needs of 200 jobs': {
      text: `jobs:\n${times(100, (i) => `  j${i}: { needs: [${times(20, (k) => `zzzzzzzzzzzzzzzz${k}`).replaceAll('\n', ', ')}], steps: [{ run: x }] }`)}`,
      code: 'need-unknown',
    },
    'cycle of 500 jobs': {
      text: `jobs:\n${times(499, (i) => `  j${i}: { needs: [j${i + 1}], steps: [{ run: x }] }`)}\n  j499: { needs: [j0], steps: [{ run: x }] }`,
      code: 'need-cycle',
    },
    'matrix of 100,000': {
      text: `jobs: { a: { matrix: { ${'abcde'
        .split('')
        .map((name) => `${name}: [0,1,2,3,4,5,6,7,8,9]`)
        .join(', ')} }, steps: [{ run: x }] } }`,
      code: 'matrix-too-large',
    },
    'a long script in each of 40 steps of 1,000 cells': {
      text: `x-s: &s "${'x'.repeat(200_000)}"\njobs:\n${times(4, (i) => `  j${i}: { matrix: { a: [${times(250, String).replaceAll('\n', ', ')}] }, steps: [${'{ run: *s }, '.repeat(40)}] }`)}`,
      code: 'plan-too-large',
    },
    'a long script in 500 steps': {
      text: `x-s: &s "${'x'.repeat(200_000)}"\nsteps: [${'{ run: *s }, '.repeat(500)}]`,
      code: 'plan-too-large',
    },
    'an environment for 500 jobs': {
      text: `env: { A: "${'x'.repeat(60_000)}" }\njobs:\n${times(499, (i) => `  j${i}: { steps: [{ run: x }] }`)}`,
      code: 'plan-too-large',
    },
    'a short script with as many controls as steps': {
      text: `x-s: &s "${'\\u0001'.repeat(30_000)}"\nsteps: [${'{ run: *s }, '.repeat(499)}]`,
      code: 'plan-too-large',
    },
    '250 cells that need 750': {
      text: `jobs:\n${times(4, (i) => `  j${i}: { matrix: { a: [${numbers(250)}] }, needs: [${i ? times(i, (k) => `j${k}`).replaceAll('\n', ', ') : ''}], steps: [{ run: x }] }`)}`,
      code: 'plan-too-large',
    },
    'expressions in 300 long variables': {
      text: `x-e: &e "${'${{1}}'.repeat(10_900)}"\nenv: { ${times(300, (i) => `A${i}: *e`).replaceAll('\n', ', ')} }${tail}`,
      code: 'plan-too-large',
    },
    'expressions in the variables of a matrix too large': {
      text: `x-e: &e "${'${{1}}'.repeat(10_900)}"\njobs: { a: { matrix: { a: [${numbers(300)}] }, env: { ${times(300, (i) => `A${i}: *e`).replaceAll('\n', ', ')} }, steps: [{ run: x }] } }`,
      code: 'plan-too-large',
    },
    '490 variables of 160 expressions': {
      text: `env: { ${times(490, (i) => `A${i}: "${'${{1}}'.repeat(160)}${i}"`).replaceAll('\n', ', ')} }${tail}`,
      code: 'expression-invalid',
    },
    'an expression of spaces in 60 scripts': {
      text: `x-s: &s "\${{ a${' '.repeat(250_000)}b"\nsteps: [${'{ run: *s }, '.repeat(60)}]`,
      code: 'expression-in-run',
    },
    'an expression of letters in 60 scripts': {
      text: `x-s: &s "\${{ ${'a'.repeat(250_000)}-"\nsteps: [${'{ run: *s }, '.repeat(60)}]`,
      code: 'expression-in-run',
    },
    'a wrong image in 20,000 steps': {
      text: `# ${'x'.repeat(400_000)}\njobs:\n${times(4, (i) => `  j${i}: { matrix: { a: [${numbers(250)}] }, steps: [${'{ run: x, image: "${{event.branch}}!" }, '.repeat(20)}] }`)}`,
      code: 'image-invalid',
    },
    'long conditions of 1,000 cells': {
      text: `jobs:\n${times(4, (i) => `  j${i}: { matrix: { a: [${numbers(250)}] }, steps: [{ run: x, image: "\${{event.branch}}!", when: [${times(4, (k) => `{ if: "${'1==2||'.repeat(39)}${k}==${k}${i}" }`).replaceAll('\n', ', ')}] }] }`)}`,
      code: 'image-invalid',
    },
    'patterns of 1,000 cells': {
      text: `jobs:\n${times(4, (i) => `  j${i}: { matrix: { a: [${numbers(250)}] }, steps: [{ run: x, image: "\${{event.branch}}!", when: { repository: [${times(150, (k) => `${'abcd'[i]!}*${k}`).replaceAll('\n', ', ')}, "**"] } }] }`)}`,
      code: 'image-invalid',
    },
    'matrix of many includes': {
      text: `jobs: { a: { matrix: { a: [${'1,'.repeat(32)}], b: [${times(32, String).replaceAll('\n', ', ')}], include: [${'{ z: 1 }, '.repeat(256)}{ z: 2 }] }, steps: [{ run: x }] } }`,
      code: 'too-many',
    },
    'glob of stars': { text: `when: { branch: "${'*'.repeat(15)}X${'*'.repeat(15)}" }${tail}`, code: 'glob-invalid' },
    'glob of groups': { text: `when: { branch: "*(*(*(a|b)))" }${tail}`, code: 'glob-invalid' },
    'glob of braces': { text: `when: { paths: "${'{a,b}'.repeat(30)}" }${tail}`, code: 'glob-invalid' },
    'expression of parentheses': {
      text: `env: { A: "\${{ ${'('.repeat(4000)} }}" }${tail}`,
      code: 'expression-invalid',
    },
    'expression of negations': {
      text: `env: { A: "\${{ ${'!'.repeat(4000)}1 }}" }${tail}`,
      code: 'expression-invalid',
    },
    'half expressions': { text: `env: { A: "${"${{ '".repeat(10_000)}" }${tail}`, code: 'expression-invalid' },
    'image of dashes': { text: `image: "${'a-'.repeat(190)}A"${tail}`, code: 'image-invalid' },
    prototype: { text: `x: &a { __proto__: { polluted: true } }\nenv: { <<: *a }${tail}`, code: 'key-forbidden' },
  };
}
