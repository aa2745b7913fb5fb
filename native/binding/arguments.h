// The arguments of the engine's verbs, from JavaScript objects to the runtime's structs. Every field is there: see convert.h.
#pragma once

#include <napi.h>

#include "runtime/engine.h"
#include "runtime/memory_plan.h"

namespace zazen::binding {

PackedTokens packed_tokens(const Napi::Object& args);
EngineConfig engine_config(const Napi::Object& args);
GenerateArgs generate_args(const Napi::Object& args);
TrainArgs train_args(const Napi::Object& args);
LossArgs loss_args(const Napi::Object& args);
OptimArgs optim_args(const Napi::Object& args);
StatePaths state_paths(const Napi::Object& args);
Workload workload_of(const Napi::Object& args);

}  // namespace zazen::binding
