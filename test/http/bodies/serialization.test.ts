import { SerializerSelector } from '@fastify/fast-json-stringify-compiler'
import { Type } from '@sinclair/typebox'
import t from 'tap'
import { createSerializerFactory } from '../../../src/http/bodies/serialization.ts'

const named = { Name: Type.Object({ name: Type.String() }, { $id: 'Name' }) }
const route = (schema: object) => ({ method: 'GET', url: '/', httpStatus: '200', schema })

t.test('equal schemas are compiled once, in all plugins, with the first response', t => {
  const compiled: string[] = []
  const create = SerializerSelector()
  const build = createSerializerFactory((namedSchemas, options) => {
    const compile = create(namedSchemas, options)
    return route => {
      compiled.push(JSON.stringify(route.schema))
      return compile(route)
    }
  })
  const serializers = [build(named, {}), build(named, {}), build({ ...named }, {})].flatMap(compile =>
    [compile(route(Type.Ref('Name'))), compile(route(Type.Ref('Name')))])
  t.same(compiled, [])
  for (const serialize of serializers) t.equal(serialize({ name: 'a', secret: 'b' }), '{"name":"a"}')
  t.same(compiled, ['{"$ref":"Name"}'])
  t.end()
})

t.test('other schemas, and other schemas of the same name, have serializers of their own', t => {
  const build = createSerializerFactory()
  const others = { Name: Type.Object({ secret: Type.String() }, { $id: 'Name' }) }
  const value = { name: 'a', secret: 'b' }
  t.equal(build(named, {})(route(Type.Ref('Name')))(value), '{"name":"a"}')
  t.equal(build(named, {})(route(Type.Array(Type.Ref('Name'))))([value]), '[{"name":"a"}]')
  t.equal(build(others, {})(route(Type.Ref('Name')))(value), '{"secret":"b"}')
  t.end()
})
