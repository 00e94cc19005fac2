"""Published data sets to token files: readers, sampling, templates, encoding. What scripts/prepare_task.py is made of.

Rules are MeZO's (arXiv 2305.17333, appendix D and E, and github.com/princeton-nlp/MeZO, large_models/, of which the
functions are named below where a rule comes from them) and Hugging Face `datasets`' builders'. RULES names them with a
version that changes when their result does; the manifest records it.
"""

RULES = {"readers": 1, "sampling": 1, "prompts": 1, "encoding": 1, "generation": 1}
