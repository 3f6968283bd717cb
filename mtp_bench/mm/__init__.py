"""The only folder that imports OpenMMLab: registration, adapters, hooks and the runner."""
