// `npm run clean`: removes what a build makes. Packages stay installed; `rm -rf node_modules` is the next
// step up. Plain JavaScript, so that it also works when nothing is installed.
import { readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

const built = ['.test-results', 'node_modules/.cache/cluster-fs/addon.stamp'];
for (const name of readdirSync(join(root, 'packages'))) {
  for (const folder of ['dist', 'build', 'prebuilds']) built.push(`packages/${name}/${folder}`);
}
for (const path of built) rmSync(join(root, path), { recursive: true, force: true });
console.log('clean: removed what was built');
