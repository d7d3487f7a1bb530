-- Statistics of one provider's answers were kept although there are none.
UPDATE plugins SET config = jsonb_set(config, '{logging,log_statistics}', 'false')
  WHERE name = 'ai-proxy'
    AND config #> '{logging,log_statistics}' = 'true'
    AND config ->> 'route_type' = 'llm/v1/completions'
    AND config #>> '{model,provider}' = 'anthropic';
