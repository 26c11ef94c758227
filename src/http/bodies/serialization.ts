import { type SerializerFactory, SerializerSelector } from '@fastify/fast-json-stringify-compiler'

type SerializerCompiler = ReturnType<SerializerFactory>
type Serialize = ReturnType<SerializerCompiler>

const remember = <Value>(values: Map<string, Value>, key: string, create: () => Value): Value => {
  const known = values.get(key)
  if (known !== undefined) return known
  const value = create()
  values.set(key, value)
  return value
}

/**
 * Compiles each response schema once, with the first response that has it. The routes have some hundreds of responses,
 * most of them a reference to one of a few schemas, and a process sends few of them; Fastify compiles one for each
 * response before it listens.
 */
export const createSerializerFactory = (buildCompiler: SerializerFactory = SerializerSelector()): SerializerFactory => {
  type Compiled = { compile: SerializerCompiler, serializers: Map<string, Serialize> }
  // Fastify asks for a compiler for each plugin with routes, and all have the same schemas to refer to.
  const compilers = new Map<string, Compiled>()
  return (namedSchemas, options) => {
    let compiled: Compiled | undefined
    return route => {
      let serialize: Serialize | undefined
      return value => {
        compiled ??= remember(compilers, JSON.stringify(namedSchemas), () =>
          ({ compile: buildCompiler(namedSchemas, options), serializers: new Map() }))
        const { compile, serializers } = compiled
        serialize ??= remember(serializers, JSON.stringify(route.schema), () => compile(route))
        return serialize(value)
      }
    }
  }
}
