with contracts as (
  select organization_id, count(*) as organization_contract_count, count_if(b2b_contract_is_active) as organization_active_contract_count
  from {{ ref('stg__mitxonline__app__postgres__b2b_contractpage') }}
  group by organization_id
)

select
  {{ surrogate_key(["'mitxonline'", 'organizations.organization_key']) }} as organization_pk,
  'mitxonline' as platform,
  organizations.organization_id,
  organizations.organization_key,
  organizations.organization_name,
  organizations.organization_description,
  coalesce(contracts.organization_contract_count, 0) as organization_contract_count,
  coalesce(contracts.organization_active_contract_count, 0) as organization_active_contract_count
from {{ ref('stg__mitxonline__app__postgres__b2b_organizationpage') }} as organizations
left join contracts on contracts.organization_id = organizations.organization_id
