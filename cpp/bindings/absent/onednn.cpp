// Stands in for oneDNN's library where that is not installed: every function that we call says "unimplemented", so that
// the engine keeps to its own kernels (openmp_is_ours). The Python module looks for the real library first.
extern "C" {

#define ABSENT(name) \
  __attribute__((visibility("default"))) int name() { return 3; }  // dnnl_unimplemented

ABSENT(dnnl_convolution_forward_primitive_desc_create)
ABSENT(dnnl_engine_create)
ABSENT(dnnl_engine_destroy)
ABSENT(dnnl_matmul_primitive_desc_create)
ABSENT(dnnl_memory_create_v2)
ABSENT(dnnl_memory_desc_clone)
ABSENT(dnnl_memory_desc_create_with_strides)
ABSENT(dnnl_memory_desc_create_with_tag)
ABSENT(dnnl_memory_desc_destroy)
ABSENT(dnnl_memory_desc_equal)
ABSENT(dnnl_memory_desc_get_size_v2)
ABSENT(dnnl_memory_desc_permute_axes)
ABSENT(dnnl_memory_desc_query)
ABSENT(dnnl_memory_destroy)
ABSENT(dnnl_memory_set_data_handle)
ABSENT(dnnl_post_ops_append_binary)
ABSENT(dnnl_post_ops_append_eltwise)
ABSENT(dnnl_post_ops_append_prelu)
ABSENT(dnnl_post_ops_append_sum)
ABSENT(dnnl_post_ops_create)
ABSENT(dnnl_post_ops_destroy)
ABSENT(dnnl_post_ops_len)
ABSENT(dnnl_primitive_attr_create)
ABSENT(dnnl_primitive_attr_destroy)
ABSENT(dnnl_primitive_attr_set_post_ops)
ABSENT(dnnl_primitive_attr_set_scratchpad_mode)
ABSENT(dnnl_primitive_create)
ABSENT(dnnl_primitive_desc_destroy)
ABSENT(dnnl_primitive_desc_query)
ABSENT(dnnl_primitive_desc_query_md)
ABSENT(dnnl_primitive_destroy)
ABSENT(dnnl_primitive_execute)
ABSENT(dnnl_reorder_primitive_desc_create)
ABSENT(dnnl_set_max_cpu_isa)
ABSENT(dnnl_stream_create)
ABSENT(dnnl_stream_destroy)

#undef ABSENT

}  // extern "C"
