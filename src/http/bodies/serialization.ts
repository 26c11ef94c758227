import { type SerializerFactory, SerializerSelector } from '@fastify/fast-json-stringify-compiler'

type SerializerCompiler = ReturnType<SerializerFactory>

const remember = <Value>(values: Map<string, Value>, key: string, create: () => Value): Value => {
  const known = values.get(key)
  if (known !== undefined) return known
  const value = create()
  values.set(key, value)
  return value
}

/**
 * Compiles each response schema once. The routes have some hundreds of responses, most of them a reference to one of a
 * few schemas; Fastify compiles one for each response, which took a third of the CPU of a start.
 */
export const createSerializerFactory = (): SerializerFactory => {
  const buildCompiler = SerializerSelector()
  // Fastify asks for a compiler for each plugin with routes, and all have the same schemas to refer to.
  const compilers = new Map<string, SerializerCompiler>()
  return (namedSchemas, options) => remember(compilers, JSON.stringify(namedSchemas), () => {
    const compile = buildCompiler(namedSchemas, options)
    const serializers = new Map<string, ReturnType<SerializerCompiler>>()
    return route => remember(serializers, JSON.stringify(route.schema), () => compile(route))
  })
}
