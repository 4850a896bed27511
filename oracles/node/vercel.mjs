// Vercel's `ai` against `ballast serve`, through its providers for OpenAI's chat and responses, for servers that are
// compatible with them, and for Anthropic.

import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { Output, embed, embedMany, generateObject, generateText, jsonSchema, stepCountIs, streamObject, streamText, tool } from 'ai';
import {
  ENDLESS, LIGHT_SCHEMA, N_TOKENS, N_TOKENS_LONG, QUESTION, TOOL_ANSWER, TOOL_DESCRIPTION, TOOL_NAME, TOOL_QUESTION,
  TOOL_SCHEMA, differs, encoder, fails, isAtWork, key, lightFault, model, run, stillAtWork, toolFault, url,
} from './checks.mjs';

const server = { baseURL: `${url}/v1`, apiKey: key };
const openai = createOpenAI(server);
const compatible = createOpenAICompatible({ ...server, name: 'ballast', includeUsage: true, supportsStructuredOutputs: true });
const anthropic = createAnthropic(server);
const wires = {
  chat: openai.chat(model),
  responses: openai.responses(model),
  compatible: compatible(model),
  anthropic: anthropic(model),
};
const asked = { maxOutputTokens: N_TOKENS, temperature: 0, maxRetries: 0 };
const light = { schema: jsonSchema(LIGHT_SCHEMA), prompt: 'Which light, and for how long?' };

/** Every wire gives the same text in one piece and streamed, with a usage that adds up. */
async function texts(wire) {
  const ask = { ...asked, model: wire, prompt: QUESTION };
  const whole = await generateText(ask);
  const { inputTokens, outputTokens, totalTokens } = whole.usage;
  if (!whole.text || inputTokens + outputTokens !== totalTokens) return JSON.stringify([whole.text, whole.usage]);
  const pieces = [];
  const stream = streamText({ ...ask, onError() {} });
  for await (const piece of stream.textStream) pieces.push(piece);
  if (pieces.length < 2) return `${pieces.length} pieces of text`;
  return differs([whole.text, whole.finishReason, whole.usage.outputTokens],
    [pieces.join(''), await stream.finishReason, (await stream.usage).outputTokens]);
}

async function objects(wire) {
  const ask = { ...asked, ...light, maxOutputTokens: 60, model: wire };
  const whole = await generateObject(ask);
  const text = await generateText({ ...ask, output: Output.object(light) });
  const stream = streamObject({ ...ask, onError() {} });
  for await (const _ of stream.partialObjectStream);
  return lightFault(whole.object) ?? differs(whole.object, text.output) ?? differs(whole.object, await stream.object);
}

/** The first step calls the tool, the second answers with what it said; whole and streamed. */
async function tools(wire) {
  const called = [];
  const ask = {
    ...asked,
    model: wire,
    prompt: TOOL_QUESTION,
    maxOutputTokens: 200,
    tools: {
      [TOOL_NAME]: tool({
        description: TOOL_DESCRIPTION,
        inputSchema: jsonSchema(TOOL_SCHEMA),
        execute: async (input) => { called.push(input); return TOOL_ANSWER; },
      }),
    },
    stopWhen: stepCountIs(2),
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? 'required' : 'none' }),
  };
  const whole = await generateText(ask);
  const fault = differs(2, whole.steps.length) ?? (called.length ? toolFault(TOOL_NAME, called[0]) : 'nothing was called');
  if (fault) return fault;
  if (!whole.text) return `after the tool's answer ${JSON.stringify(whole.steps[1].content)}`;
  const nCalled = called.length;
  const stream = streamText({ ...ask, onError() {} });
  return differs([whole.text, called.slice(0, nCalled)], [await stream.text, called.slice(nCalled)]);
}

async function aborts(wire) {
  const ask = { ...asked, model: wire, prompt: ENDLESS, maxOutputTokens: N_TOKENS_LONG };
  const controller = new AbortController();
  const whole = generateText({ ...ask, abortSignal: controller.signal });
  const waiting = fails(() => whole, (error) => error.name === 'AbortError');
  if (!await isAtWork()) return 'nothing was at work before the answer was aborted';
  controller.abort();
  const fault = await waiting ?? await stillAtWork();
  if (fault) return fault;
  const leaving = new AbortController();
  let nPieces = 0;
  for await (const part of streamText({ ...ask, abortSignal: leaving.signal }).fullStream) {
    if (part.type === 'text-delta') nPieces += 1;
    if (nPieces === 5) leaving.abort();
  }
  return stillAtWork();
}

async function embeds() {
  const values = ['A lighthouse.', 'A ship at sea.'];
  const first = await embed({ model: openai.embedding(encoder), value: values[0] });
  const both = await embedMany({ model: compatible.embeddingModel(encoder), values });
  return differs([first.embedding, 2], [both.embeddings[0], both.embeddings.length]);
}

const kinds = { text: texts, objects, tools, abort: aborts };
const checks = Object.entries(kinds).flatMap(([kind, check]) =>
  Object.entries(wires).map(([name, wire]) => [`${kind}, ${name}`, () => check(wire)]));
await run({ ...Object.fromEntries(checks), ...(encoder ? { embeddings: embeds } : {}) });
