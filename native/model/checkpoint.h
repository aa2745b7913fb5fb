// Weights to and from safetensors files with Hugging Face names: read from one file or several, written to one. Adapters to and
// from those of peft. And what training keeps beside the weights, in a file of its own.
#pragma once

#include <string>
#include <vector>

#include "model/parameters.h"

namespace zazen {

// Where the head's weights come from: the files, or the caller, who opens a language model as a scalar one. Then the files'
// lm_head is left out.
enum class HeadFrom { files, caller };

// Fills `weights`. Every parameter must be in one of the files with its shape; a tensor that is no parameter is an error too,
// except the copy of a tied head and stored rotary frequencies, which older files carry. check_weights says the same from the
// headers alone, so that a wrong config.json costs no memory.
void check_weights(const std::vector<std::string>& paths, const ModelSpec& spec, const ParameterList& parameters,
                   HeadFrom head = HeadFrom::files);
void load_weights(const std::vector<std::string>& paths, const ModelSpec& spec, const ParameterList& parameters,
                  const WeightStore& store, HeadFrom head = HeadFrom::files);
// In the type of the weights.
void save_weights(const std::string& path, const ParameterList& parameters, TensorView weights);

// A buffer in the layout of gradients, an element for each weight. In a file its tensors are NAME.PARAMETER, row-major:
// "exp_avg.model.norm.weight".
struct StateBuffer {
  std::string name;
  TensorRef data;
};

// Writes the buffers, and the optimizer steps taken as the metadata "step".
void save_state(const std::string& path, const ParameterList& parameters, const std::vector<StateBuffer>& buffers,
                int64_t step);
// Every buffer must be in the file, whole and in its own type, and nothing else; check_state says so from the header alone.
// load_state fills the buffers and returns the steps. Errors: those of core/safetensors.h, TENSOR_UNEXPECTED,
// SAFETENSORS_METADATA.
void check_state(const std::string& path, const ParameterList& parameters, const std::vector<StateBuffer>& buffers);
int64_t load_state(const std::string& path, const ParameterList& parameters, const std::vector<StateBuffer>& buffers);
// Adapters and copies as a file of peft: names behind "base_model.model.", in F32, so that masters lose nothing. Errors as
// above.
void check_adapter(const std::string& path, const ParameterList& parameters);
void load_adapter(const std::string& path, const ParameterList& parameters, const WeightStore& store);
void save_adapter(const std::string& path, const ParameterList& parameters, const WeightStore& store);
// The model with its adapters added to the weights: W + scale * B A, each element summed in double and rounded to the type of
// the weights. A tied head of which a copy is trained becomes its own.
void save_merged(const std::string& path, const ModelSpec& spec, const ParameterList& parameters, TensorView weights);

}  // namespace zazen
