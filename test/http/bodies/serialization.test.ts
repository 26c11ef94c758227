import { Type } from '@sinclair/typebox'
import t from 'tap'
import { createSerializerFactory } from '../../../src/http/bodies/serialization.ts'

const named = { Name: Type.Object({ name: Type.String() }, { $id: 'Name' }) }
const route = (schema: object) => ({ method: 'GET', url: '/', httpStatus: '200', schema })

t.test('equal schemas have one serializer, in all plugins', t => {
  const build = createSerializerFactory()
  const compile = build(named, {})
  const serialize = compile(route(Type.Ref('Name')))
  t.equal(compile(route(Type.Ref('Name'))), serialize)
  t.equal(build({ ...named }, {})(route(Type.Ref('Name'))), serialize)
  t.equal(serialize({ name: 'a', secret: 'b' }), '{"name":"a"}')
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
