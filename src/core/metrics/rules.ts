/** Metric families of each engine, and the engine-independent name that dashboards and autoscalers know them by. */
export const METRIC_NAMES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  vllm: {
    "vllm:num_requests_waiting": "aibrix:queue_size",
    "vllm:gpu_cache_usage_perc": "aibrix:gpu_cache_usage_perc",
    "vllm:kv_cache_usage_perc": "aibrix:kv_cache_usage_perc",
    "vllm:prompt_tokens_total": "aibrix:prompt_tokens_total",
    "vllm:generation_tokens_total": "aibrix:generation_tokens_total",
    "vllm:time_to_first_token_seconds": "aibrix:time_to_first_token_seconds",
    "vllm:time_per_output_token_seconds": "aibrix:time_per_output_token_seconds",
    "vllm:e2e_request_latency_seconds": "aibrix:e2e_request_latency_seconds",
    "vllm:request_success_total": "aibrix:request_success_total",
  },
  sglang: {
    "sglang:num_queue_reqs": "aibrix:queue_size",
    "sglang:gen_throughput": "aibrix:generation_throughput",
    "sglang:prompt_tokens_total": "aibrix:prompt_tokens_total",
    "sglang:generation_tokens_total": "aibrix:generation_tokens_total",
    "sglang:time_to_first_token_seconds": "aibrix:time_to_first_token_seconds",
    "sglang:time_per_output_token_seconds": "aibrix:time_per_output_token_seconds",
    "sglang:e2e_request_latency_seconds": "aibrix:e2e_request_latency_seconds",
    "sglang:cache_hit_rate": "aibrix:cache_hit_rate",
    "sglang:token_usage": "aibrix:token_usage",
  },
};
