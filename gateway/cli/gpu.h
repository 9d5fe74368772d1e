/* cli/gpu.h - `fluxgate gpu`, `fluxgate explain`: cards of the server, and where a model runs. */
#ifndef FG_CLI_GPU_H
#define FG_CLI_GPU_H

int fg_cli_gpu(int argc, char **argv);
int fg_cli_explain(int argc, char **argv);

#endif
