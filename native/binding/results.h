// What the engine's verbs give, from the runtime's structs to JavaScript objects.
#pragma once

#include <napi.h>

#include <vector>

#include "runtime/engine.h"
#include "runtime/memory_plan.h"

namespace zazen::binding {

// Samples laid end to end.
Napi::Value samples_object(Napi::Env env, const Generated& generated);
Napi::Value tokens_object(Napi::Env env, const std::vector<TokenEvent>& events);
Napi::Value scores_object(Napi::Env env, const Scores& scores);
Napi::Value sums_object(Napi::Env env, const LossSums& sums);
Napi::Value float_values(Napi::Env env, const std::vector<float>& values);
Napi::Value plan_object(Napi::Env env, const MemoryPlan& plan);

}  // namespace zazen::binding
