// The exports of the addon, by domain; the typed contract is lib/native/contract.ts. Thread:
// JavaScript. Each call runs inside an inference guard, with one intra-op thread.
#pragma once

#include <napi.h>

namespace latent_diffusion {

void ExportRuntime(Napi::Env env, Napi::Object exports);
void ExportTensor(Napi::Env env, Napi::Object exports);
void ExportOperator(Napi::Env env, Napi::Object exports);
void ExportGenerator(Napi::Env env, Napi::Object exports);
void ExportCheckpoint(Napi::Env env, Napi::Object exports);
void ExportModule(Napi::Env env, Napi::Object exports);

}  // namespace latent_diffusion
